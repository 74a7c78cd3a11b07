"""Where the stack lies that the local cloud deploys: the checkout, or what a wheel carries of it."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def root() -> Path:
    """The folder of template.yaml. FileNotFoundError: it is in neither place."""
    for folder in (PACKAGE.parents[1], PACKAGE / "checkout"):
        if (folder / "template.yaml").is_file() and (folder / "functions").is_dir():
            return folder
    raise FileNotFoundError(f"no template.yaml in {PACKAGE.parents[1]} or {PACKAGE / 'checkout'}")
