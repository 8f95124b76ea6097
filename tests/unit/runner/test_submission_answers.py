import gzip

import pytest
from msgspec.structs import replace

from poddispatchd.domain.task import RunnerTaskId
from poddispatchd.errors import (
    AnswerLostError,
    PayloadRefusedError,
    RunnerManagerBusyError,
    RunnerManagerError,
    RunnerManagerFullError,
    RunnerManagerMisconfiguredError,
    RunnerManagerUnavailableError,
    UnusableAnswerError,
)
from poddispatchd.runner.answers import accepted
from poddispatchd.runner.http_errors import refusal
from poddispatchd.runner.records import Accepted
from poddispatchd.runner.transport import HttpAnswer
from tests.unit.runner.managers import TOKEN, answer, manager, page


def refused(given: HttpAnswer) -> RunnerManagerError:
    with pytest.raises(RunnerManagerError) as caught:
        accepted(manager(), given)
    return caught.value


def invalid(field: str, message: str, echoed: object) -> HttpAnswer:
    finding = {"type": "value_error", "loc": ["body", field], "msg": message, "input": echoed}
    return answer(422, {"detail": [finding]})


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_any_2xx_with_an_id_is_an_acceptance(status: int) -> None:
    taken = accepted(manager(), answer(status, {"task_id": "rm1-1", "status": "running"}))

    assert taken == Accepted(RunnerTaskId("rm1-1"), "running")


@pytest.mark.parametrize("said", [{}, {"status": None}, {"status": ""}, {"status": 3}])
def test_a_task_without_a_word_for_its_status_runs(said: dict[str, object]) -> None:
    assert accepted(manager(), answer(200, {"task_id": "a", **said})).status == "running"


def test_a_number_is_an_id_written_as_text() -> None:
    assert accepted(manager(), answer(200, {"task_id": 17})).task_id == "17"


def test_an_id_may_be_100_characters_long() -> None:
    assert accepted(manager(), answer(200, {"task_id": "é" * 100})).task_id == "é" * 100


def test_json_sent_as_a_web_page_is_still_an_answer() -> None:
    assert accepted(manager(), page(200, '{"task_id": "rm1-h"}')).task_id == "rm1-h"


@pytest.mark.parametrize(
    "task_id", ["", " ", None, ["a"], {}, True, 1.5, "a\0b", "\ud800", ".", "..", "x" * 2001]
)
def test_an_acceptance_without_a_usable_id_is_unusable(task_id: object) -> None:
    error = refused(answer(200, {"task_id": task_id}))

    assert isinstance(error, UnusableAnswerError)
    assert error.orphan is None


def test_an_id_that_pod_cannot_store_is_told_so_that_the_task_can_be_stopped() -> None:
    error = refused(answer(200, {"task_id": "x" * 101, "status": "running"}))

    assert isinstance(error, UnusableAnswerError)
    assert error.orphan == "x" * 101


@pytest.mark.parametrize(
    "given",
    [
        page(200),
        HttpAnswer(200, "", b""),
        HttpAnswer(204, "", b""),
        HttpAnswer(200, "application/json", b"[1]"),
        HttpAnswer(200, "application/json", b'"ok"'),
        HttpAnswer(200, "application/json", b"3"),
        HttpAnswer(200, "application/json", b"{}"),
        HttpAnswer(200, "application/json", b"\xff\xfe"),
        HttpAnswer(200, "application/json", b"[" * 100_000),
        HttpAnswer(200, "application/json", b'{"task_id": ' + b"1" * 5000 + b"}"),
    ],
)
def test_a_2xx_that_is_no_acceptance_is_unusable(given: HttpAnswer) -> None:
    assert type(refused(given)) is UnusableAnswerError


@pytest.mark.parametrize(
    "body", [b"{", b'{"task_id": "', b'\xef\xbb\xbf{"task_id": "rm1-h", "sta', b'{"task_id": "a}b']
)
def test_an_answer_cut_short_may_have_been_an_acceptance(body: bytes) -> None:
    """The same bytes posted again give the id; posted to another manager, they were run twice."""
    assert type(refused(HttpAnswer(200, "application/json", body))) is AnswerLostError


@pytest.mark.parametrize("body", [b"", b"\r\n"])
def test_so_may_one_without_a_length_that_ends_behind_its_head(body: bytes) -> None:
    assert type(refused(HttpAnswer(200, "application/json", body, is_unended=True))) is AnswerLostError


def test_so_may_one_that_a_proxy_has_compressed_but_no_page_of_its_own() -> None:
    compressed = gzip.compress(b'{"task_id": "rm1-h"}')

    assert type(refused(HttpAnswer(200, "application/json", compressed, is_encoded=True))) is AnswerLostError
    assert type(refused(HttpAnswer(200, "text/html", compressed, is_encoded=True))) is UnusableAnswerError


def test_a_manager_without_a_free_runner_is_full() -> None:
    error = refused(answer(503, {"detail": "No runners available"}))

    assert type(error) is RunnerManagerFullError
    assert "No runners available" in str(error)


def test_a_long_503_of_which_only_the_beginning_was_read_is_full_too() -> None:
    whole = answer(503, {"detail": "No runners available", "runners": ["x" * 100] * 20})
    assert type(refused(replace(whole, body=whole.body[:1000], is_cut=True))) is RunnerManagerFullError


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            page(413),
            "The web server before runner manager 'rm1' takes no request as large as this task's (413): "
            "raise its limit (nginx: client_max_body_size), then restart the task.",
        ),
        (answer(422, {}), "Runner manager 'rm1' refuses the task (422)."),
        (answer(422, {"detail": ["x", {}]}), "Runner manager 'rm1' refuses the task (422: body: refused)."),
        (
            answer(422, {"detail": [{"loc": ["body", "parameters", "cut"], "msg": "bad"}, {"msg": 3}]}),
            "Runner manager 'rm1' refuses the task (422: parameters.cut: bad; body: refused).",
        ),
    ],
)
def test_a_task_that_is_refused_is_told_with_what_is_wrong(given: HttpAnswer, words: str) -> None:
    error = refused(given)
    assert (type(error), str(error)) == (PayloadRefusedError, words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (answer(401, {}), "refuses our token (401): put one of its AUTHORIZED_TOKENS into Pod's admin"),
        (answer(403, {}), "refuses our token (403): put one of its AUTHORIZED_TOKENS into Pod's admin"),
        (answer(404, {}), "does not know the address asked for (404): check its URL, with its path, "),
        (answer(405, {}), "does not know the address asked for (405): check its URL, with its path, "),
        (answer(410, {}), "does not know the address asked for (410): check its URL, with its path, "),
        (answer(418, {"error": "tea"}), "refuses our requests with status 418 (tea): check its URL in Pod's"),
        (answer(501, {"detail": ["x"]}), "failed with status 501."),
        (answer(429, {}), "limits our rate of requests (429)."),
        (page(408), "did not get our request in time (408)."),
        (page(502), "did not get its answer (502)."),
    ],
)
def test_what_is_told_says_what_to_look_at(given: HttpAnswer, words: str) -> None:
    assert f"unner manager 'rm1' {words}" in str(refused(given))


def test_a_503_without_words_is_full_too() -> None:
    assert type(refused(answer(503, {}))) is RunnerManagerFullError


_ENVOY = "upstream connect error or disconnect/reset before headers. reset reason: "


@pytest.mark.parametrize(
    "given",
    [
        HttpAnswer(503, "text/html", b"<html>No server is available to handle this request.</html>"),
        HttpAnswer(503, "", b""),
        HttpAnswer(503, "text/plain", b"no available server\n"),
        HttpAnswer(503, "text/plain", b"no healthy upstream"),
        HttpAnswer(503, "text/plain", f"{_ENVOY}remote connection failure".encode()),
        HttpAnswer(503, "text/plain", f"{_ENVOY}connection timeout".encode()),
    ],
)
def test_the_503_of_a_proxy_means_that_the_manager_is_down(given: HttpAnswer) -> None:
    """Traefik, Envoy and Caddy send no page: a manager that was down was called full, and nobody was told."""
    assert type(refused(given)) is RunnerManagerUnavailableError


@pytest.mark.parametrize(
    "given",
    [
        HttpAnswer(503, "text/plain", f"{_ENVOY}connection termination".encode()),
        HttpAnswer(503, "text/html", b"<h1>Error 503 Backend fetch failed</h1>"),
    ],
)
def test_the_503_of_a_proxy_that_was_hung_up_on_leaves_open_whether_the_task_was_taken(
    given: HttpAnswer,
) -> None:
    """Another manager was given the task, and it ran twice."""
    error = refused(given)
    assert type(error) is AnswerLostError
    assert "did not get its answer (503)" in str(error)


@pytest.mark.parametrize("status", [500, 501, 520])
def test_another_5xx_makes_the_manager_unavailable(status: int) -> None:
    assert (
        type(refused(HttpAnswer(status, "text/plain", b"Internal Server Error")))
        is RunnerManagerUnavailableError
    )


@pytest.mark.parametrize("status", [408, 502, 504])
def test_a_proxy_without_an_answer_leaves_open_whether_the_task_was_taken(status: int) -> None:
    assert type(refused(page(status))) is AnswerLostError
    assert type(refused(HttpAnswer(status, "text/plain", b"Bad Gateway"))) is AnswerLostError


def test_a_429_is_busy_and_no_fault() -> None:
    given = answer(429, {"error": "Rate limit exceeded: 120 per 1 minute"})

    assert type(refused(given)) is RunnerManagerBusyError


@pytest.mark.parametrize("status", [401, 403, 404, 405, 301, 302, 303, 307, 308, 304, 415, 418])
def test_what_only_a_person_can_mend_is_a_misconfiguration(status: int) -> None:
    assert type(refused(answer(status, {"detail": "x"}))) is RunnerManagerMisconfiguredError


def test_a_redirect_is_told_with_the_place_it_leads_to_and_nothing_secret() -> None:
    given = answer(302, {}, location="https://user:pw@new.test:8443/secret/path?token=1#x")

    assert "https://new.test:8443" in str(refused(given))
    assert "secret" not in str(refused(given))
    assert "pw" not in str(refused(given))


@pytest.mark.parametrize(
    "location",
    [
        "",
        "/relative",
        "http://[broken",
        "javascript:x",
        "ftp://old.test/",
        "http://h:99999/",
        "http://a\x1b[2Jb/",
        "http://pod\u202egro.example/",
        f"http://{'a' * 300}/",
    ],
)
def test_a_redirect_to_nowhere_is_still_a_misconfiguration_and_its_place_is_not_shown(location: str) -> None:
    error = refused(answer(307, {}, location=location))

    assert type(error) is RunnerManagerMisconfiguredError
    assert " redirects (307), and a redirect is never followed " in str(error)


@pytest.mark.parametrize("place", ["http://new.test", "https://new.test:8443"])
def test_a_redirect_is_told_with_its_scheme_and_a_port_that_is_named(place: str) -> None:
    assert f" redirects (307) to {place}, and" in str(refused(answer(307, {}, location=f"{place}/path")))


def test_a_refused_payload_names_the_field_and_never_echoes_the_input() -> None:
    secret = "do-not-log-me"
    error = refused(invalid("source_url", "Value error, source_url must use http or https scheme", secret))

    assert type(error) is PayloadRefusedError
    assert "source_url: Value error, source_url must use http or https scheme" in str(error)
    assert secret not in str(error)


def test_a_long_list_of_findings_is_cut() -> None:
    findings = [{"loc": ["body", f"field{n}"], "msg": "x" * 500, "input": "i" * 9999} for n in range(50)]

    assert len(str(refused(answer(422, {"detail": findings})))) < 450


@pytest.mark.parametrize(
    "given", [answer(422, {"detail": 3}), answer(400, {}), answer(422, [None]), answer(400, None)]
)
def test_a_refusal_without_findings_is_still_one_of_the_payload(given: HttpAnswer) -> None:
    assert type(refused(given)) is PayloadRefusedError


@pytest.mark.parametrize(
    "given",
    [
        answer(400, {"detail": "notify_url host not allowed"}),
        answer(400, {"detail": "notify_url host cannot be resolved"}),
        invalid(
            "notify_url", "Value error, notify_url must not point to a private or reserved IP address", "x"
        ),
    ],
)
def test_a_refused_webhook_address_is_not_the_fault_of_the_task(given: HttpAnswer) -> None:
    error = refused(given)

    assert type(error) is RunnerManagerMisconfiguredError
    assert "webhook" in str(error)


def test_a_wrong_domain_of_the_site_is_not_the_fault_of_every_task() -> None:
    """Both addresses are made of it: each task of the site failed for good, as fast as they came."""
    message = "Value error, it must have a valid hostname"
    findings = [{"loc": ["body", field], "msg": message} for field in ("source_url", "notify_url")]

    error = refused(answer(422, {"detail": findings}))

    assert type(error) is RunnerManagerMisconfiguredError
    assert "check the site's domain in Pod" in str(error)


def test_a_refused_task_type_is_told_even_beside_the_webhook_address() -> None:
    findings = [{"loc": ["body", field], "msg": "Field required"} for field in ("notify_url", "task_type")]

    assert type(refused(answer(422, {"detail": findings}))) is PayloadRefusedError


@pytest.mark.parametrize(
    "given",
    [
        page(400),
        HttpAnswer(400, "", b"Client sent an HTTP request to an HTTPS server.\n"),
        HttpAnswer(400, "text/plain", b""),
    ],
)
def test_the_400_of_a_web_server_is_a_misconfiguration(given: HttpAnswer) -> None:
    """Every task failed at a manager whose URL had http:// for https://, and a web server without HTML."""
    assert type(refused(given)) is RunnerManagerMisconfiguredError


def test_a_token_that_stands_in_an_answer_by_itself_is_not_repeated_and_no_part_of_a_word_is_masked() -> None:
    said = str(refused(answer(500, {"detail": f"{TOKEN} is not known here."})))
    assert said.endswith("(*** is not known here).")
    short = refusal(manager(token="ana"), answer(500, {"detail": "no banana for ana"}))
    assert str(short).endswith("(no banana for ***).")


@pytest.mark.parametrize("status", [400, 422, 500, 503, 418])
def test_a_token_that_a_manager_echoes_is_not_repeated(status: int) -> None:
    error = refused(answer(status, {"detail": f"Bearer {TOKEN} is\x1b[31m not\n liked"}))

    assert TOKEN not in str(error)
    assert "\x1b" not in str(error)
    assert "\n" not in str(error)
