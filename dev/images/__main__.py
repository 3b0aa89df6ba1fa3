"""Command line of the images; see ``python3 -m dev.images --help``."""

import argparse
import json
import sys

from dev.images import build
from dev.images.recipes import images
from dev.localkube.process import StepError


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser("python3 -m dev.images", description="The container images of this checkout.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build what has changed, into .state/images")
    listing = commands.add_parser("list", help="what is built: name, digest, size")
    listing.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.command == "build":
            build.all_images(images())
        built = [build.describe(image) for image in images() if image.archive.exists()]
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if chosen.command == "list" and chosen.json:
        print(json.dumps(built, indent=2))
        return 0
    for image in built:
        print(f"{image['name']:42} {image['digest'][:19]}  {image['size_mib']:>5} MiB  {image['archive']}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
