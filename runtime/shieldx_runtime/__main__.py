from shieldx_runtime.cli import app

app()
