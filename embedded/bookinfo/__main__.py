"""`python -m embedded.bookinfo SERVICE --version v1 [--port 9080]`: run one service of bookinfo."""

import argparse
import sys
from collections.abc import Callable

from aiohttp import web

from embedded.bookinfo import backends, productpage
from embedded.bookinfo.server import serve

SERVICES: dict[str, Callable[[str], web.Application]] = {
    "productpage": productpage.productpage,
    "reviews": backends.reviews,
    "ratings": backends.ratings,
    "details": backends.details,
}


def main(arguments: list[str]) -> None:
    """Serve until SIGTERM.

    Raises:
        SystemExit: Bad arguments, or the port is in use.
    """
    parser = argparse.ArgumentParser(prog="embedded.bookinfo", description="One service of bookinfo.")
    parser.add_argument("service", choices=sorted(SERVICES))
    parser.add_argument("--version", default="v1", choices=sorted(backends.STAR_COLORS))
    parser.add_argument("--port", type=int, default=9080, help="port to listen on (default 9080)")
    chosen = parser.parse_args(arguments)
    serve(SERVICES[chosen.service](chosen.version), chosen.port)


if __name__ == "__main__":
    main(sys.argv[1:])
