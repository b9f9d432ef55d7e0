"""When something goes wrong: words that say what, and what to do; and nothing is lost."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

import serving
from talk import answer_with, answers, ask, asked, done, said, send, stream

TOKEN = "a token of many characters"


def refusal(message: str, code: str = "") -> str:
    return json.dumps({"error": {"message": message, "type": "x", "param": None, "code": code}})


TROUBLES = {
    "busy": (429, "", {"Retry-After": "7"}, "Try again in 7 seconds."),
    "shutting down": (503, "", {}, "Start it again"),
    "failed": (500, refusal("the server failed (X)."), {}, "the server failed (X)."),
    "too long": (400, refusal("200 tokens", "context_length_exceeded"), {}, "Begin a new conversation"),
    "no JSON": (502, "<html>", {}, "The server failed (502)."),
    "gone": (404, refusal("no model 'x'."), {}, "no model 'x'."),
}


@pytest.mark.parametrize(("status", "body", "headers", "words"), TROUBLES.values(), ids=TROUBLES)
def test_a_refusal_is_told_in_words(opening, problems, status, body, headers, words):
    problems.expect(f"status of {status}")
    page = opening()
    answer_with(page, body, status=status, headers=headers)
    ask(page, "hello")
    expect(page.get_by_role("alert")).to_contain_text(words)


def test_what_failed_can_be_tried_again(opening, problems):
    problems.expect("status of 503")
    page = opening()
    answer_with(page, "", status=503)
    ask(page, "hello")
    page.unroute_all()
    page.get_by_role("button", name="Try again").click()
    done(page)
    assert asked(page) == ["hello"]
    assert said(page)[0]


def test_a_server_that_is_gone_is_named_as_that(opening, problems):
    problems.expect("ERR_CONNECTION_REFUSED")
    page = opening()
    page.route("**/v1/chat/completions", lambda route: route.abort("connectionrefused"))
    ask(page, "hello")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer.")


@pytest.mark.parametrize(
    "body", [stream("half an ans", reason=None), stream("half an ans", reason=None) + "data: {\n\n"]
)
def test_an_answer_that_breaks_off_keeps_what_came(opening, body):
    page = opening()
    answer_with(page, body)
    ask(page, "hello")
    expect(page.get_by_role("alert")).to_contain_text("broke off")
    assert said(page) == ["half an ans"]


def test_a_failure_within_a_stream_is_told(opening):
    page = opening()
    answer_with(page, stream("half", reason=None) + f"data: {refusal('out of memory.')}\n\n")
    ask(page, "hello")
    expect(page.get_by_role("alert")).to_contain_text("out of memory.")


def test_an_empty_answer_is_not_taken_for_a_fault(opening):
    page = opening()
    answer_with(page, stream(""))
    ask(page, "hello")
    expect(page.get_by_text("The model had nothing to say.")).to_be_visible()


def test_a_damaged_history_does_not_keep_the_page_from_opening(opening):
    page = opening()
    damaged = [{"id": 1}, None, {"id": "x", "system": "", "turns": [{"ask": 1}]}]
    page.evaluate("kept => { localStorage['trimtab.conversations'] = JSON.stringify(kept) }", damaged)
    page.reload()
    ask(page, "hello")
    assert asked(page) == ["hello"]


def test_a_browser_without_storage_still_chats(opening):
    page = opening("#/runs")
    refuse = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied') } })"
    page.add_init_script(refuse)
    page.goto(page.url.replace("#/runs", "#/chat"))
    page.reload()
    send(page, "hello")
    expect(answers(page)).to_have_count(1)
    page.keyboard.press("Escape")


def test_without_a_model_the_page_says_how_to_start_one(opening, tmp_path):
    with serving.serving(without_model=True) as running:
        page = opening(url=running.url)
        expect(page.get_by_role("heading", name="No model is being served")).to_be_visible()
        expect(page.get_by_text("trimtab serve smollm2")).to_be_visible()


@pytest.fixture(scope="session")
def guarded(runs_folder):
    with serving.serving(serving.service(), token=TOKEN, runs_folder=runs_folder) as running:
        yield running


def enter(page, token):
    page.get_by_label("Token", exact=True).last.fill(token)
    page.get_by_role("button", name="Continue").click()


def test_a_token_is_asked_for_once_and_kept_for_the_tab(opening, problems, guarded):
    problems.expect("status of 401")
    page = opening(url=guarded.url)
    enter(page, TOKEN)
    ask(page, "hello")
    page.reload()
    ask(page, "again")
    assert page.get_by_role("dialog").count() == 0
    assert page.evaluate("[sessionStorage['trimtab.token'], localStorage['trimtab.token']]") == [TOKEN, None]


def test_a_wrong_token_is_turned_away_in_words(opening, problems, guarded):
    problems.expect("status of 401")
    page = opening(url=guarded.url)
    enter(page, "wrong")
    expect(page.get_by_role("heading", name="That token was not accepted")).to_be_visible()
    enter(page, TOKEN)
    ask(page, "hello")


def test_behind_a_token_a_report_is_saved(opening, problems, guarded):
    problems.expect("status of 401")
    page = opening("#/runs/demo", url=guarded.url)
    enter(page, TOKEN)
    with page.expect_download() as caught:
        page.get_by_role("button", name="Save the report").click()
    assert caught.value.suggested_filename == "demo-report.html"
