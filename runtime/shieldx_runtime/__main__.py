import sys

if sys.argv[1:] == ["shadow", "work"]:
    # a worker's whole work may last a tenth of a second: the command line alone takes ten times as long to import
    from shieldx_runtime.shadow.worker import main

    sys.exit(main())

from shieldx_runtime.cli import app

app()
