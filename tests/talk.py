"""What a person does in the chat, in a line each."""

from __future__ import annotations

import json

from playwright.sync_api import Locator, Page, Route, expect


def message(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message", exact=True)


def send(page: Page, text: str) -> None:
    """Write a message and send it."""
    expect(page.get_by_role("combobox").first).to_be_visible()  # the models are known
    message(page).fill(text)
    message(page).press("Enter")


def answers(page: Page) -> Locator:
    return page.locator("article.answer")


def done(page: Page, count: int = 1) -> None:
    """Wait until so many answers stand, and none is being written."""
    expect(answers(page)).to_have_count(count)
    page.locator("article.answer[data-state=writing]").first.wait_for(state="detached")


def begun(page: Page, column: int = 0) -> Locator:
    """Wait until an answer that is being written has some text; give its body."""
    body = page.locator("article.answer[data-state=writing] .answer-body").nth(column)
    body.locator(".prose > *").first.wait_for(state="attached")
    return body


def ask(page: Page, text: str, *, count: int = 1) -> None:
    """Send and wait for the answers."""
    send(page, text)
    done(page, count)


def said(page: Page) -> list[str]:
    """Give the text of every answer."""
    return page.locator(".answer-body").all_inner_texts()


def asked(page: Page) -> list[str]:
    """Give what was asked, in order."""
    return page.locator(".asked-text").all_inner_texts()


def stream(text: str, *, reason: str | None = "stop") -> str:
    """Give an answer of a server that says this; without a reason it breaks off."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}]
    if reason:
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
        chunks.append({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    ending = ["data: [DONE]\n\n"] if reason else []
    return "".join([f"data: {json.dumps(chunk)}\n\n" for chunk in chunks] + ending)


def answer_with(page: Page, body: str, *, status: int = 200, headers: dict[str, str] | None = None) -> None:
    """Let the server's answers be these from now on."""
    kind = "text/event-stream" if status == 200 else "application/json"

    def fulfil(route: Route) -> None:
        route.fulfill(status=status, body=body, headers={"Content-Type": kind, **(headers or {})})

    page.route("**/v1/chat/completions", fulfil)
