"""Command line of the images; see ``python3 -m dev.images --help``."""

import argparse
import json
import sys

from dev.images import build
from dev.images.recipes import images
from dev.localkube.process import StepError


def main(arguments: list[str]) -> int:
    known = {image.key: image for image in images()}
    parser = argparse.ArgumentParser("python3 -m dev.images", description="The container images of this checkout.")
    commands = parser.add_subparsers(dest="command", required=True)
    building = commands.add_parser("build", help="build what has changed, into .state/images")
    building.add_argument(
        "images",
        nargs="*",
        choices=[*known, []],
        help="default: what an installation runs",
        metavar=f"{{{','.join(known)}}}",
    )
    building.add_argument("--fresh", action="store_true", help="build all anew, with the packages of today")
    listing = commands.add_parser("list", help="what is built: name, digest, size of the archive")
    listing.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "build":
            wanted = [known[key] for key in chosen.images] or [image for image in known.values() if image.default]
            build.all_images(wanted, fresh=chosen.fresh)
        built = [build.describe(image) for image in known.values() if image.archive.exists()]
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if chosen.command == "list" and chosen.json:
        print(json.dumps(built, indent=2))
        return 0
    for image in built:
        print(f"{image['name']:34} {image['digest']}  {image['size_mib']:>4} MiB  {image['archive']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
