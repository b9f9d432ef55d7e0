"""The chat as a person uses it."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect

import serving
from talk import answer_with, answers, ask, asked, begun, done, message, said, send, stream

LONG = 70


def test_an_answer_grows_while_it_is_written(opening):
    page = opening(tokens=LONG)
    send(page, "the trim tab")
    body = begun(page)
    early = body.inner_text()
    expect(body).not_to_have_text(early)
    done(page)
    assert len(said(page)[0]) > len(early)


def test_an_answer_says_what_it_cost(opening):
    page = opening()
    ask(page, "the trim tab")
    expect(page.locator(".count")).to_have_text("12 tokens")
    expect(page.locator(".speed")).to_have_text(re.compile(r"^[\d.]+ tokens/s"))
    expect(page.locator(".counts .asked")).to_have_text(re.compile(r"^prompt \d+"))


def test_an_answer_that_was_cut_says_so(opening):
    page = opening()
    ask(page, "the trim tab")
    expect(page.get_by_text("Cut at the longest answer allowed")).to_be_visible()


@pytest.mark.parametrize("how", ["button", "escape"])
def test_an_answer_can_be_stopped_and_what_came_stays(opening, server, how):
    page = opening(tokens=LONG)
    send(page, "the trim tab")
    begun(page)
    if how == "button":
        page.get_by_role("button", name="Stop").click()
    else:
        page.keyboard.press("Escape")
    expect(page.get_by_text("Stopped.")).to_be_visible()
    assert said(page)[0]
    assert serving.eventually(lambda: server.service.taken == 0)


def test_a_message_can_be_edited_and_sent_again_from_there(opening):
    page = opening()
    for count, text in enumerate(["first", "second", "third"], 1):
        ask(page, text, count=count)
    page.locator(".turn").nth(1).hover()
    page.get_by_role("button", name="Edit and send again").nth(1).click()
    field = page.get_by_role("textbox", name="Edit the message")
    expect(field).to_have_value("second")
    expect(page.get_by_text("What follows this message is removed.")).to_be_visible()
    field.fill("another")
    page.get_by_role("button", name="Send from here").click()
    done(page, 2)
    assert asked(page) == ["first", "another"]


def test_editing_can_be_given_up(opening):
    page = opening()
    ask(page, "first")
    page.get_by_role("button", name="Edit and send again").focus()
    page.keyboard.press("Enter")
    page.keyboard.type("changed")
    page.keyboard.press("Escape")
    assert asked(page) == ["first"]
    expect(page.get_by_role("button", name="Edit and send again")).to_be_focused()


def test_the_same_seed_regenerates_the_same_answer(opening):
    page = opening()
    ask(page, "the trim tab")
    before = said(page)
    page.get_by_role("button", name="Regenerate").click()
    done(page)
    assert said(page) == before
    assert asked(page) == ["the trim tab"]


def test_only_the_last_answer_can_be_asked_for_again(opening):
    page = opening(tokens=4)
    for count, text in enumerate(["first", "second"], 1):
        ask(page, text, count=count)
    page.get_by_role("button", name="Regenerate").click()  # there is but one
    done(page, 2)
    assert asked(page) == ["first", "second"]


def test_where_one_model_is_left_one_answers(opening):
    page = opening(tokens=4)
    page.get_by_role("button", name="Side by side").click()
    one = {"data": [{"id": serving.BASE, "parent": None}]}
    page.route("**/v1/models", lambda route: route.fulfill(json=one))
    page.reload()
    expect(page.get_by_role("combobox")).to_have_count(1)
    ask(page, "the trim tab")
    button = page.get_by_role("button", name="Side by side")
    expect(button).to_be_disabled()
    expect(button).to_have_attribute("aria-pressed", "false")


def test_two_models_answer_the_same_question_at_once(opening):
    page = opening(tokens=LONG)
    page.get_by_role("button", name="Side by side").click()
    send(page, "the trim tab")
    expect(answers(page)).to_have_count(2)
    for column in (0, 1):
        begun(page, column)
    done(page, 2)
    assert page.locator(".answer-name").all_inner_texts() == [serving.BASE, serving.FIRST]
    left, right = (answers(page).nth(column).bounding_box() for column in (0, 1))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]


def test_side_by_side_each_model_remembers_its_own_words(opening):
    page = opening(tokens=8)
    page.get_by_role("button", name="Side by side").click()
    ask(page, "first", count=2)
    own = {"tiny": said(page)[0], "tiny:first": said(page)[1]}
    sent = []
    page.on("request", lambda request: request.method == "POST" and sent.append(json.loads(request.post_data)))
    ask(page, "second", count=4)
    told = {body["model"]: body["messages"] for body in sent}
    assert [part["role"] for part in told["tiny"]] == ["user", "assistant", "user"]
    assert own["tiny"] != own["tiny:first"]
    kept = json.loads(page.evaluate("localStorage['trimtab.conversations']"))[0]["turns"][0]["answers"]
    assert {answer["model"]: answer["text"] for answer in kept} == {
        model: messages[1]["content"] for model, messages in told.items()
    }


def test_the_model_that_is_picked_answers(opening):
    page = opening()
    page.get_by_role("combobox", name="Model").select_option(serving.SECOND)
    ask(page, "the trim tab")
    assert page.locator(".answer-name").all_inner_texts() == [serving.SECOND]


def test_what_is_set_is_what_is_sent(opening):
    page = opening()
    page.get_by_role("button", name="Settings").click()
    page.get_by_role("textbox", name="System prompt").fill("Be brief.")
    for label, value in [("Temperature", "0.2"), ("Top p", "0.5"), ("Longest answer, in tokens", "5"), ("Seed", "")]:
        page.get_by_role("spinbutton", name=label).fill(value)
    page.keyboard.press("Escape")
    with page.expect_request("**/v1/chat/completions") as caught:
        ask(page, "the trim tab")
    body = json.loads(caught.value.post_data)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.2, 0.5, 5)
    assert "seed" not in body


def test_a_setting_that_is_not_allowed_is_marked_and_not_taken(opening):
    page = opening()
    page.get_by_role("button", name="Settings").click()
    field = page.get_by_role("spinbutton", name="Temperature")
    field.fill("-3")
    expect(field).to_have_attribute("aria-invalid", "true")
    page.get_by_role("button", name="Reset to the defaults").click()
    expect(field).to_have_value("0.7")


def test_conversations_are_kept_over_a_reload(opening):
    page = opening()
    ask(page, "the first one")
    before = said(page)
    page.keyboard.press("Control+k")
    expect(answers(page)).to_have_count(0)
    ask(page, "the second one")
    page.reload()
    page.get_by_role("button", name="the first one").first.click()
    assert (asked(page), said(page)) == (["the first one"], before)


def test_two_tabs_leave_each_others_conversations_alone(opening):
    page = opening(tokens=4)
    other = page.context.new_page()
    other.goto(page.url)
    ask(page, "from the first")
    ask(other, "from the second")
    expect(page.locator(".talk-title")).to_have_text(["from the second", "from the first"])
    ask(page, "more", count=2)
    other.get_by_role("button", name='Delete "from the second"').click()
    expect(page.locator(".talk-title")).to_have_text(["from the first"])
    page.reload()
    expect(page.locator(".talk-title")).to_have_text(["from the first"])


def test_what_was_written_before_the_page_was_closed_is_kept(opening):
    page = opening(tokens=LONG)
    send(page, "the trim tab")
    begun(page)
    page.reload()
    page.get_by_role("button", name="the trim tab").first.click()
    expect(page.get_by_text("Stopped.")).to_be_visible()
    assert said(page)[0]


def test_a_conversation_can_be_deleted(opening):
    page = opening()
    ask(page, "to be forgotten")
    page.locator(".talks li").hover()
    page.get_by_role("button", name='Delete "to be forgotten"').click()
    expect(answers(page)).to_have_count(0)
    page.reload()
    expect(page.get_by_text("Conversations appear here.")).to_be_visible()


def test_a_conversation_deleted_while_it_is_answered_does_not_come_back(opening):
    page = opening(tokens=LONG)
    send(page, "to be forgotten")
    begun(page)
    page.locator(".talks li").hover()
    page.get_by_role("button", name='Delete "to be forgotten"').click()
    expect(page.get_by_text("Conversations appear here.")).to_be_visible()
    page.reload()
    expect(page.get_by_text("Conversations appear here.")).to_be_visible()


def test_an_answer_goes_on_while_another_view_is_looked_at(opening):
    page = opening(tokens=LONG)
    send(page, "the trim tab")
    page.get_by_role("link", name="Runs").click()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    page.get_by_role("link", name="Chat").click()
    done(page)
    expect(page.locator(".count")).to_have_text("70 tokens")


def test_the_page_follows_an_answer_and_leaves_alone_whoever_scrolls_up(opening):
    page = opening(viewport={"width": 1280, "height": 380}, tokens=LONG)
    answer_with(page, stream("\n\n".join("abcdefghijklmnop")))
    ask(page, "much")
    log = page.get_by_role("log")
    expect(log.get_by_text("p", exact=True)).to_be_in_viewport()
    page.unroute_all()
    send(page, "more")
    begun(page)
    log.evaluate("log => { log.scrollTop = 0 }")
    done(page, 2)
    expect(log.get_by_text("a", exact=True)).to_be_in_viewport()


def test_everything_is_done_from_the_keyboard(opening):
    page = opening()
    expect(message(page)).to_be_focused()
    expect(page.get_by_role("combobox")).to_be_visible()
    page.keyboard.type("two")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("lines")
    page.keyboard.press("Enter")
    done(page)
    assert asked(page) == ["two\nlines"]
    expect(message(page)).to_have_value("")
    page.keyboard.press("Shift+Tab")
    while page.evaluate("document.activeElement.ariaLabel") != "Edit and send again":
        page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.keyboard.type("!")
    page.keyboard.press("Enter")
    done(page)
    assert asked(page) == ["two\nlines!"]
    page.keyboard.press("Meta+k")
    expect(answers(page)).to_have_count(0)
    expect(message(page)).to_be_focused()


def test_enter_that_ends_a_composed_word_does_not_send(opening):
    page = opening()
    message(page).fill("かな")
    composing = "{key: 'Enter', isComposing: true, bubbles: true, cancelable: true}"
    message(page).evaluate(f"field => field.dispatchEvent(new KeyboardEvent('keydown', {composing}))")
    expect(message(page)).to_have_value("かな")
    assert asked(page) == []


def test_a_screen_reader_is_told_who_answers_and_given_whole_answers(opening):
    page = opening(tokens=LONG)
    send(page, "the trim tab")
    body = page.get_by_label("Answer of tiny")
    expect(body).to_have_attribute("aria-busy", "true")
    expect(page.get_by_role("status")).to_have_text("tiny is answering")
    done(page)
    expect(body).to_have_attribute("aria-busy", "false")
    expect(body).to_have_attribute("aria-live", "polite")
    expect(page.get_by_role("status")).to_have_text("Answered")
