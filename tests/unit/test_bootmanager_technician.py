"""The technician's page shows the screens as they are, and no row that a terminal would break."""

from tests.unit.technician_screens import PAGE, filled, names, screens


def test_the_page_shows_the_screens_as_they_are():
    """If this fails: python -m tests.unit.technician_screens."""
    page = PAGE.read_text()
    assert filled(page) == page
    assert sorted(names(page)) == sorted(screens())


def test_every_screen_fits_a_serial_terminal():
    for name, text in screens().items():
        rows = text.splitlines()
        assert len(rows) < 25 or name == "network", name
        assert max(map(len, rows)) < 80, name
        assert text.isascii(), name
