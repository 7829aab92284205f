"""`kerf bench-link`: what the link carries, as `kerf split` takes it."""

from app.api.schemas import LinkIn
from app.cli.figures import BITS_PER_S, SECONDS, figure_of
from tests.cli.running import kerf, rows
from tests.server import Server


def test_the_link_is_measured(server: Server) -> None:
    """As JSON it is the link of a body of POST /split; people see the spread beside it."""
    measured = kerf("bench-link", "--seconds", "0.1", "--json", url=server.url)
    link = LinkIn.model_validate(measured.result)
    assert set(measured.result) == set(LinkIn.model_fields) - {"preset", "smashed_dtype"}
    assert link.uplink_bits_per_s is not None
    assert link.uplink_bits_per_s > 0
    done = kerf("bench-link", "--seconds", "0.1", url=server.url)
    head, *lines = rows(done.stdout)
    assert head == ["", "median", "least", "most"]
    assert [line[0] for line in lines] == ["uplink", "downlink", "round trip"]
    for line, unit in zip(lines, (BITS_PER_S, BITS_PER_S, SECONDS), strict=True):
        median, least, most = map(figure_of(unit, "1"), line[1:])
        assert least <= median <= most
