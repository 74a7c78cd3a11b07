"""Read the table of prices: the package's, or the user's own file."""

from pathlib import Path

from tallyman.adapters.files.reading import text
from tallyman.domain.costs import Prices
from tallyman.domain.images.documents import loads
from tallyman.errors import BadInput

OWN = Path(__file__).with_name("prices.json")


def load(path: Path | None = None) -> Prices:
    """The prices in a JSON file of the form of `prices.json`. Raises BadInput that names the file."""
    file = path or OWN
    try:
        return Prices.parse(loads(text(file)))
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from error
    except ValueError as error:
        raise BadInput(f"{file} is not JSON: {error}") from error
