"""Runs over HTTP: what a folder says, also half written, damaged or hostile."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from run_folders import append, row, write_run
from trimtab.serve import runs
from trimtab.serve.run_metrics import MOST_ROWS

DAMAGED_LINES = ["{", "[1]", "NaN", '{"step": "1"}', '{"step": 1, "loss": NaN}', '{"step": 1, "loss": 1e999}']
DAMAGED_TEXTS = ["", "\0", "[[[[", "[" * 100_000, "a = nan\nb = inf", '{"a": NaN}', '{"a": 1e999}', "[1, 2]", "\ud800"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    write_run(tmp_path / "runs", "demo")
    return tmp_path / "runs"


@pytest.fixture
def client(root: Path) -> TestClient:
    return TestClient(Starlette(routes=runs.routes(root)))


def listed(client: TestClient) -> dict[str, dict]:
    return {run["name"]: run for run in client.get("/api/runs").json()["runs"]}


def measured(client: TestClient, after: int | str = 0) -> dict:
    return client.get(f"/api/runs/demo/metrics?after={after}").json()


def test_a_run_is_listed_with_how_far_it_came(client):
    run = listed(client)["demo"]
    assert (run["step"], run["steps"], run["loss"]) == (10, 20, 2.0)
    assert (run["eval_loss_before"], run["eval_loss"]) == (3.25, 1.75)


def test_the_last_changed_run_comes_first(client, root):
    write_run(root, "newer")
    os.utime(root / "newer" / "metrics.jsonl", (2**31, 2**31))
    assert list(listed(client)) == ["newer", "demo"]


def test_the_folder_is_walked_once_for_a_list(client, root, monkeypatch):
    for number in range(5):
        write_run(root, f"run-{number}")
    walked = []
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: walked.append(path) or iterdir(path))
    assert len(listed(client)) == 6
    assert walked.count(root) == 1


def test_a_folder_that_is_no_run_is_not_listed(client, root):
    (root / "notes").mkdir()
    (root / "file.txt").write_text("")
    assert list(listed(client)) == ["demo"]


def test_a_folder_that_is_absent_has_no_runs(tmp_path):
    app = Starlette(routes=runs.routes(tmp_path / "nowhere"))
    assert TestClient(app).get("/api/runs").json()["runs"] == []


@pytest.mark.parametrize(
    ("options", "state"),
    [
        ({}, "finished"),
        ({"finished": False}, "stopped"),
        ({"running": True}, "running"),
        ({"running": True, "finished": False}, "running"),
    ],
)
def test_the_state_is_told_from_the_lock_and_what_was_left(client, root, options, state):
    write_run(root, "other", **options)
    assert listed(client)["other"]["state"] == state


def test_a_run_without_measurements_has_not_begun(client, root):
    write_run(root, "planned", finished=False)
    (root / "planned" / "metrics.jsonl").unlink()
    run = listed(client)["planned"]
    assert (run["state"], run["step"], run["loss"]) == ("empty", 0, None)


@pytest.mark.parametrize("word", ["", "x", "-1", "0", "00", "99999999999999999999", "9" * 5000, "4194305", "१"])
def test_a_lock_that_names_no_living_process_means_no_run(client, root, word):
    (root / "demo" / "lock").write_text(word, encoding="utf-8")
    assert listed(client)["demo"]["state"] == "finished"


def test_a_process_that_began_after_the_lock_was_written_does_not_hold_it(client, root):
    (root / "demo" / "lock").write_text(f"{os.getpid()}")
    assert listed(client)["demo"]["state"] == "running"
    os.utime(root / "demo" / "lock", (10**9, 10**9))
    assert listed(client)["demo"]["state"] == "finished"


def test_looking_does_not_take_the_lock(client, root):
    from trimtab.store.lock import RunLock

    with RunLock(root / "demo"):
        assert listed(client)["demo"]["state"] == "running"
    assert listed(client)["demo"]["state"] == "finished"


def test_a_run_tells_settings_plan_and_answers(client):
    run = client.get("/api/runs/demo").json()
    assert run["config"] == {"method": "qlora", "steps": 20, "lr": 1e-4, "targets": []}
    assert run["plan"]["peak_bytes"] == 1_000_000_000
    assert run["answers"][0]["after"] == "<b>so</b>"


def test_a_run_says_where_it_is_saved_by_name_only(client, root):
    assert str(root) not in client.get("/api/runs").text + client.get("/api/runs/demo").text


def test_measurements_come_in_order(client):
    part = measured(client)
    assert [one["step"] for one in part["rows"]] == [0, *range(1, 11), 10]
    assert (part["next"], part["more"]) == (12, False)


def test_measurements_go_on_after_a_line(client, root):
    append(root / "demo", [row(11)])
    assert [one["step"] for one in measured(client, 12)["rows"]] == [11]


def test_a_line_that_is_being_written_waits_until_it_is_whole(client, root):
    path = root / "demo" / "metrics.jsonl"
    line = json.dumps(row(11))
    with path.open("a") as file:
        file.write(line[:20])
    assert (measured(client, 12)["rows"], measured(client, 12)["next"]) == ([], 12)
    with path.open("a") as file:
        file.write(line[20:] + "\n")
    assert [one["step"] for one in measured(client, 12)["rows"]] == [11]


@pytest.mark.parametrize("line", DAMAGED_LINES)
def test_a_damaged_line_is_left_out_and_counted(client, root, line):
    with (root / "demo" / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    part = measured(client, 12)
    assert (part["rows"], part["next"]) == ([], 13)
    assert listed(client)["demo"]["step"] == 10


def test_deep_json_is_left_out(client, root):
    with (root / "demo" / "metrics.jsonl").open("a") as file:
        file.write("[" * 100_000 + "\n")
    assert measured(client, 12)["rows"] == []


def test_a_line_with_bytes_that_are_no_text_is_left_out(client, root):
    with (root / "demo" / "metrics.jsonl").open("ab") as file:
        file.write(b'{"step": 11, "loss": \xff}\n')
    assert measured(client, 12)["rows"] == []


def test_a_file_written_anew_has_another_version(client, root):
    from trimtab.train.metrics import Metrics

    before = measured(client)["version"]
    append(root / "demo", [row(11)])
    assert measured(client)["version"] == before
    Metrics(root / "demo").rewind(3)
    assert measured(client)["version"] != before


def test_a_line_past_the_end_gives_the_end(client):
    assert (measured(client, 500)["rows"], measured(client, 500)["next"]) == ([], 12)


def test_a_long_run_comes_in_parts(client, root):
    append(root / "demo", [row(1)] * MOST_ROWS)
    first = measured(client)
    assert (len(first["rows"]), first["more"]) == (MOST_ROWS, True)
    rest = measured(client, first["next"])
    assert (len(rest["rows"]), rest["more"]) == (12, False)


def test_a_long_run_has_a_short_curve_that_ends_at_its_end(client, root):
    append(root / "demo", [row(step) for step in range(11, 5000)])
    curve = listed(client)["demo"]["curve"]
    assert len(curve) <= 65
    assert curve[0][0] == 1
    assert curve[-1][0] == 4999


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "1e3", "9" * 40, "%00", "१", "+1", " 1"])
def test_a_line_number_that_is_none_is_refused(client, after):
    answer = client.get(f"/api/runs/demo/metrics?after={after}")
    assert answer.status_code == 400
    assert "whole number" in answer.json()["error"]["message"]


HOSTILE = [
    "..",
    "%2e%2e",
    "..%2fsecret.txt",
    "%2fetc",
    "demo%2f..",
    "demo%00",
    "DEMO",
    "demo ",
    "d\u0435mo",
    "\\",
    "~",
]
HOSTILE += ["%ff%fe", "x" * 5000, "link", "lost"]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name[:20]))
@pytest.mark.parametrize("rest", ["", "/metrics", "/report"])
def test_a_name_that_is_not_in_the_listing_is_refused(client, root, name, rest):
    write_run(root.parent / "outside", "run")
    (root / "link").symlink_to(root.parent / "outside" / "run")
    (root / "lost").symlink_to(root.parent / "nowhere")
    answer = client.get(f"/api/runs/{name}{rest}")
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_an_unknown_name_is_told_what_is_near(client):
    error = client.get("/api/runs/dmo").json()["error"]
    assert "Did you mean 'demo'?" in error["message"]


@pytest.mark.parametrize("name", ["metrics.jsonl", "report.html", "config.toml", "plan.json", "answers.json"])
def test_a_file_that_is_a_link_out_of_its_run_is_not_read(client, root, name):
    secret = json.dumps({"step": 1, "loss": 1, "secret": "secret"})
    (root.parent / "secret.txt").write_text(secret + "\n")
    (root / "demo" / name).unlink()
    (root / "demo" / name).symlink_to(root.parent / "secret.txt")
    texts = [client.get(f"/api/runs{rest}").text for rest in ("", "/demo", "/demo/metrics", "/demo/report")]
    assert "secret" not in "".join(texts)


@pytest.mark.parametrize("name", ["config.toml", "plan.json", "answers.json"])
@pytest.mark.parametrize("text", DAMAGED_TEXTS)
def test_a_damaged_document_does_not_hide_the_run(client, root, name, text):
    (root / "demo" / name).write_bytes(text.encode("utf-8", "surrogatepass"))
    answer = client.get("/api/runs/demo")
    assert answer.status_code == 200
    assert answer.json()["step"] == 10


def test_a_folder_whose_name_is_no_text_is_left_out(client, root):
    write_run(root, "odd").rename(root / os.fsdecode(b"odd\xff"))
    assert list(listed(client)) == ["demo"]


def test_a_report_runs_nothing_and_belongs_to_no_origin(client):
    answer = client.get("/api/runs/demo/report")
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"].startswith("text/html")
    assert "sandbox" in policy
    assert "default-src 'none'" in policy


def test_a_report_that_is_not_written_yet_is_refused_in_words(client, root):
    write_run(root, "young", finished=False)
    answer = client.get("/api/runs/young/report")
    assert answer.status_code == 404
    assert "when the run ends" in answer.json()["error"]["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/api/runs", "/api/runs/demo", "/api/runs/demo/metrics", "/api/runs/demo/report"])
def test_runs_are_only_read(client, method, path):
    assert client.request(method, path).status_code == 405
