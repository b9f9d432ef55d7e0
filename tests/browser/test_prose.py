"""What a model writes, shown: Markdown where it is meant, text where it is not, never markup."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from talk import answer_with, ask, stream

SHOW = """async (text) => {
  const { Prose } = await import("/page/prose.js");
  const prose = new Prose();
  for (const part of [].concat(text)) prose.show(part);
  return prose.element.innerHTML.replaceAll(/<svg.*?<\\/svg>/g, "").replaceAll(/<button.*?<\\/button>/g, "[copy]");
}"""


CASES = {
    "plain": ("one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"),
    "bold and italic": ("**b** *i* ***x*** __b__ _i_", None),
    "nested": ("*a **b** c*", "<p><em>a <strong>b</strong> c</em></p>"),
    "names stay": ("snake_case_name 2 * 3 * 4", "<p>snake_case_name 2 * 3 * 4</p>"),
    "code": ("`a*b*c` and ``x ` y``", "<p><code>a*b*c</code> and <code>x ` y</code></p>"),
    "escaped": (r"\*not\* \`code\`", "<p>*not* `code`</p>"),
    "unclosed": ("**bold *it `code [a](", "<p>**bold *it `code [a](</p>"),
    "heading": ("# A *b*\ntext", "<h3>A <em>b</em></h3><p>text</p>"),
    "result": ("#### 1,234.5", "<p>#### 1,234.5</p>"),
    "bullets": ("- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
    "numbers": ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    "quote": ("> a\n> - b", "<blockquote><p>a</p><ul><li>b</li></ul></blockquote>"),
    "rule": ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
    "empty": ("\n \n", ""),
}
BOLD = "<p><strong>b</strong> <em>i</em> <strong><em>x</em></strong> <strong>b</strong> <em>i</em></p>"


@pytest.mark.parametrize(("text", "markup"), CASES.values(), ids=CASES)
def test_markdown_becomes_elements(blank, text, markup):
    assert blank.evaluate(SHOW, text) == (BOLD if markup is None else markup)


@pytest.mark.parametrize("text", ["```python\nx = 1\n```", "```python\nx = 1", "~~~python\nx = 1\n~~~"])
def test_code_is_set_apart_also_before_its_end(blank, text):
    shown = blank.evaluate(SHOW, text)
    assert "<span>python</span>[copy]" in shown
    assert "<code>x = 1</code>" in shown


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "```html\n<script>alert(1)</script>\n```",
    "`<b>`",
    "# <i>x</i>",
    "- <u>x</u>",
    "**<b onclick=x>**",
    "&lt;script&gt;",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markup_in_an_answer_stays_text(blank, text):
    shown = blank.evaluate(SHOW, text)
    assert "<img" not in shown
    assert not any(tag in shown for tag in ("<script", "<b>", "<b ", "<i>", "<u>"))


@pytest.mark.parametrize(
    "address",
    ["javascript:alert(1)", "data:text/html,x", "/api/runs", "//evil.example", "file:///etc/passwd", "vbscript:x"],
)
def test_a_link_that_does_not_lead_to_the_web_is_text(blank, address):
    assert "<a" not in blank.evaluate(SHOW, f"[look]({address})")


def test_a_link_to_the_web_opens_apart_and_tells_nobody_where_from(blank):
    shown = blank.evaluate(SHOW, "[look](https://example.org/a_b_c)")
    assert 'href="https://example.org/a_b_c"' in shown
    assert 'rel="noopener noreferrer nofollow"' in shown


def test_a_picture_is_never_fetched(blank):
    assert "<img" not in blank.evaluate(SHOW, "![x](https://example.org/x.png)")


@pytest.mark.parametrize(
    "unit", ["*", "_a", "**a ", "`", "``a`", "[", "[a](", "> ", "  - a\n", "#", "~~~\n", "***_", "\\"]
)
def test_no_text_takes_long(blank, unit):
    timed = f"async (text) => {{ const t = performance.now(); await ({SHOW})(text); return performance.now() - t; }}"
    assert blank.evaluate(timed, unit * (40_000 // len(unit))) < 1500


def test_what_is_already_written_is_left_alone_as_more_comes(blank):
    kept = """async () => {
      const { Prose } = await import("/page/prose.js");
      const prose = new Prose();
      prose.show("one\\n\\ntwo");
      const first = prose.element.firstChild;
      prose.show("one\\n\\ntwo and more\\n\\n- three");
      return [prose.element.firstChild === first, prose.element.children.length];
    }"""
    assert blank.evaluate(kept) == [True, 3]


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_growing_text_ends_as_it_would_have_at_once(blank, cut):
    text = "Look:\n\n1. a **b**\n2. `c`\n\n```js\nlet x;\n```\n> q\n\n*end*"
    assert blank.evaluate(SHOW, [text[:cut], text[: cut + 5], text]) == blank.evaluate(SHOW, text)


def test_an_answer_with_markup_runs_nothing(opening):
    page = opening()
    answer_with(page, stream("<img src=x onerror=\"document.title='ran'\"> [x](javascript:alert(1)) **bold**"))
    ask(page, "<b>hello</b>")
    expect(page.locator(".asked-text")).to_have_text("<b>hello</b>")
    expect(page.locator(".answer-body strong")).to_have_text("bold")
    assert page.locator(".log img").count() == 0
    assert page.title() == "Chat · trimtab"


def test_code_can_be_copied(opening):
    page = opening(permissions=["clipboard-read", "clipboard-write"])
    answer_with(page, stream("```python\nx = 1\ny = 2\n```"))
    ask(page, "code")
    page.get_by_role("button", name="Copy code").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "x = 1\ny = 2"
