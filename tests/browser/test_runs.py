"""Training runs as they are watched."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from run_folders import append, row, write_run
from trimtab.train.metrics import Metrics

LATER_MS = 3000
"""Longer than from one look at a run to the next."""


def key(page, chart=0):
    return page.locator(".chart-key").nth(chart)


def test_runs_are_listed_with_how_they_stand(opening):
    page = opening("#/runs")
    expect(page.get_by_role("link", name=re.compile("^demo .*Finished.*2.000.*3.250 → 1.750"))).to_be_visible()
    expect(page.get_by_role("link", name=re.compile("^live .*Running.*10 of 20"))).to_be_visible()


def test_a_run_opens_from_the_list(opening):
    page = opening("#/runs")
    page.get_by_role("link", name=re.compile("^demo")).click()
    expect(page.get_by_role("heading", name="demo", exact=True)).to_be_visible()
    expect(page).to_have_title("demo · trimtab")
    page.get_by_role("link", name="Runs").last.click()
    expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()


def test_a_run_that_begins_appears_in_the_list(opening, runs_folder):
    page = opening("#/runs", clock=True)
    expect(page.locator(".run").first).to_be_visible()
    write_run(runs_folder, "newcomer")
    page.clock.fast_forward(LATER_MS)
    expect(page.get_by_role("link", name=re.compile("^newcomer"))).to_be_visible()


def test_curves_grow_while_a_run_trains(opening, runs_folder):
    page = opening("#/runs/live", clock=True)
    expect(key(page, 2)).to_contain_text("60.0")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.5")
    append(runs_folder / "live", [row(n) for n in range(11, 16)])
    page.clock.fast_forward(LATER_MS)
    expect(key(page, 2)).to_contain_text("65.0")
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0.75")


def test_a_run_that_is_taken_up_from_an_earlier_step_is_drawn_anew(opening, runs_folder):
    folder = write_run(runs_folder, "again", running=True, finished=False)
    page = opening("#/runs/again", clock=True)
    expect(key(page, 2)).to_contain_text("60.0")
    Metrics(folder).rewind(4)
    page.clock.fast_forward(LATER_MS)
    expect(key(page, 2)).to_contain_text("54.0")


def test_a_run_that_ends_is_told_and_no_longer_asked_about(opening, runs_folder):
    folder = write_run(runs_folder, "ending", running=True, finished=False)
    page = opening("#/runs/ending", clock=True)
    expect(page.locator(".badge")).to_have_text("Running")
    (folder / "adapter").mkdir()
    (folder / "lock").write_text("")
    page.clock.fast_forward(LATER_MS)
    expect(page.locator(".badge")).to_have_text("Finished")
    expect(page.get_by_role("status")).to_have_text("ending: finished")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.fast_forward(LATER_MS)
    page.wait_for_timeout(100)
    assert not asked


def test_the_pointer_reads_out_all_charts_at_one_step(opening):
    page = opening("#/runs/demo")
    expect(key(page)).to_have_text(re.compile(r"held out\s*1.750"))
    drawing = page.locator(".chart-drawing").first
    box = drawing.bounding_box()
    drawing.hover(position={"x": 52 + (box["width"] - 64) * 0.4, "y": 60})
    expect(page.locator(".chart-step").first).to_have_text("step 4")
    expect(key(page, 2)).to_have_text("54.0")
    page.mouse.move(0, 0)
    expect(key(page, 2)).to_have_text("60.0")


def test_arrow_keys_read_out_steps(opening):
    page = opening("#/runs/demo")
    drawing = page.locator(".chart-drawing").first
    drawing.locator(".line").first.wait_for()
    drawing.focus()
    for pressed, step in [("End", 10), ("ArrowLeft", 9), ("ArrowLeft", 8), ("ArrowRight", 9), ("Home", 1)]:
        page.keyboard.press(pressed)
        expect(page.locator(".chart-step").first).to_have_text(f"step {step}")
    expect(drawing).to_have_attribute("aria-label", re.compile("step 1"))


def test_the_loss_can_be_drawn_in_powers_of_ten(opening):
    page = opening("#/runs/demo")
    line = page.locator(".chart-drawing .line.held")
    line.wait_for()
    before = page.locator(".chart-y").all_inner_texts()
    page.get_by_role("button", name="Logarithmic scale").click()
    expect(page.get_by_role("button", name="Logarithmic scale")).to_have_attribute("aria-pressed", "true")
    assert page.locator(".chart-y").all_inner_texts() != before
    assert "NaN" not in line.get_attribute("d")
    page.reload()
    expect(page.get_by_role("button", name="Logarithmic scale")).to_have_attribute("aria-pressed", "true")


def test_the_plan_is_set_against_what_happened(opening):
    page = opening("#/runs/demo")
    expect(page.get_by_role("row", name="Peak memory 1.00 GB 2.00 GB \u221250 %")).to_be_visible()
    expect(page.get_by_role("row", name="Time a step 2.0 s 4.0 s \u221250 %")).to_be_visible()


def test_settings_and_answers_are_shown_as_text(opening):
    page = opening("#/runs/demo")
    expect(page.locator(".settings")).to_contain_text("method")
    expect(page.locator(".settings")).to_contain_text("qlora")
    expect(page.locator(".before-after")).to_contain_text("<b>so</b>")


def test_a_report_opens_in_a_tab_of_its_own_and_runs_nothing(opening, problems):
    problems.expect("Content Security Policy")
    page = opening("#/runs/demo")
    with page.context.expect_page() as caught:
        page.get_by_role("link", name="Report").click()
    caught.value.wait_for_load_state()
    assert caught.value.title() == "report"


def test_a_run_that_is_unknown_is_told_in_words(opening, problems):
    problems.expect("status of 404")
    page = opening("#/runs/demmo")
    expect(page.get_by_role("alert")).to_contain_text("Did you mean 'demo'?")


@pytest.mark.parametrize("name", ["<b>50% x", "ü?#&"])
def test_a_run_with_an_odd_name_opens(opening, runs_folder, name):
    write_run(runs_folder, name)
    page = opening("#/runs")
    page.get_by_role("link").filter(has=page.get_by_text(name, exact=True)).click()
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible()


def test_a_run_without_measurements_says_so(opening, runs_folder):
    folder = write_run(runs_folder, "young", finished=False, running=True)
    (folder / "metrics.jsonl").unlink()
    page = opening("#/runs/young")
    expect(page.get_by_text("Nothing measured yet").first).to_be_visible()


TICKS = """async ([kind, values]) => {
  const scale = (await import("/page/run/scale.js"))[kind](values);
  return [scale.ticks, scale.place(scale.low), scale.place(scale.high)];
}"""


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([0, 19], [0, 5, 10, 15, 20]), ([0.8, 1.7], [0.75, 1, 1.25, 1.5, 1.75]), ([3, 3], [3, 4]), ([0], [0, 0.25])],
)
def test_ticks_are_those_of_the_report(blank, values, ticks):
    from trimtab.train.report.curve import round_ticks

    assert blank.evaluate(TICKS, ["linear", values]) == [ticks, 0, 1]
    assert round_ticks(values) == ticks


@pytest.mark.parametrize("values", [[0], [-1, 0], []])
def test_without_a_number_above_0_a_logarithmic_scale_is_a_linear_one(blank, values):
    assert blank.evaluate(TICKS, ["logarithmic", values]) == blank.evaluate(TICKS, ["linear", values])


def test_a_long_curve_is_thinned_without_losing_its_spikes(blank):
    thinned = """async () => {
      const { thinned } = await import("/page/run/scale.js");
      const points = Array.from({ length: 50000 }, (_, x) => [x, x === 31234 ? 99 : Math.sin(x / 50)]);
      const left = thinned(points, 600);
      return [left.length, Math.max(...left.map(([, y]) => y)), left.every(([x], at) => !at || x > left[at - 1][0])];
    }"""
    length, most, ordered = blank.evaluate(thinned)
    assert length <= 1200
    assert (most, ordered) == (99, True)
