"""What was at the bottom of an error of requests: its own cause, and an end to looking for it."""

import pytest
import requests
from urllib3.exceptions import MaxRetryError, NewConnectionError, ProxyError

from host.http_trust import causes, reason


def refused(url="http://x/"):
    """Raise what requests raises where nobody listens, with all that hangs on it."""
    try:
        try:
            raise ConnectionRefusedError(111, "Connection refused")
        except OSError as error:
            raise NewConnectionError(None, "Failed to establish a new connection") from error
    except NewConnectionError as error:
        retried = MaxRetryError(None, url, error)
    raise requests.ConnectionError(retried)


def test_the_innermost_cause_is_told():
    with pytest.raises(requests.ConnectionError) as found:
        refused()
    assert reason(found.value) == "[Errno 111] Connection refused"


def test_through_a_proxy_it_is_an_argument():
    error = ProxyError("Cannot connect to proxy.", TimeoutError("timed out"))
    assert reason(requests.exceptions.ProxyError(MaxRetryError(None, "/", error))) == "timed out"


def test_an_error_while_another_is_at_work_has_its_own_cause():
    first, second = requests.ConnectionError(OSError("first")), requests.ReadTimeout("the second one")
    # As Python does where it is raised in an except clause.
    second.__context__ = first
    assert reason(second) == "the second one"


def test_one_that_leads_back_to_itself_ends():
    """What several threads were told of one failure, and raise once more, can be at its own beginning."""
    first, second = OSError("first"), OSError("second")
    first.__cause__, second.__cause__ = second, first
    first.__context__ = second.__context__ = requests.ConnectionError(first)
    assert list(causes(first)) == [first, second]
