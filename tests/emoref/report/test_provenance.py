from dataclasses import replace

import pytest

from emoref.report import provenance
from emoref.runs.record import RunRecord


def test_stages_are_timed_without_pauses(record: RunRecord) -> None:
    assert provenance.stage_times(record) == [
        ("training: base network", 3.0),
        ("measuring the base network", 0.5),
        ("search", 66.5),
    ]


def test_events_without_a_time_are_passed_over(record: RunRecord) -> None:
    events = [{"event": "start", "time_s": 1}, {"event": "odd"}, {"event": "end", "time_s": 3}]
    assert provenance.stage_times(replace(record, events=events)) == [("closing", 2.0)]
    assert provenance.stage_times(replace(record, events=[])) == []


def test_all_trainings_of_a_network_s_baselines_are_one_stage(record: RunRecord) -> None:
    names = ["start", "fine-tune half", "fine-tune half/l1", "train half/scratch", "fine-tune small/l1"]
    events = [
        {"event": "epoch", "training": name, "time_s": float(2**i)} if i else {"event": "start", "time_s": 1}
        for i, name in enumerate(names)
    ]
    assert provenance.stage_times(replace(record, events=events)) == [
        ("training: fine-tune half", 1.0),
        ("training: baselines of half", 2.0 + 4.0),
        ("training: baselines of small", 8.0),
    ]


def test_software_and_machine_are_those_of_the_last_start(record: RunRecord) -> None:
    origin, of_run = provenance.origin(record)
    assert of_run
    assert (origin["numpy"], origin["cores"]) == ("9.8.8", "4")


def test_a_log_without_them_gives_those_of_the_report(record: RunRecord) -> None:
    origin, of_run = provenance.origin(replace(record, events=[]))
    assert not of_run
    assert {"emoref", "python", "numpy", "numba", "h5py", "processor", "cores", "system"} <= set(origin)


def test_the_configuration_is_the_file_of_the_run(record: RunRecord) -> None:
    assert provenance.config_text(record) == 'name = "by hand"\nseed = 7\n'
    record.folder.config.unlink()
    pytest.importorskip("tomli_w")
    text = provenance.config_text(replace(record, config={"seed": 7, "none": None, "data": {"name": "x"}}))
    assert text == 'seed = 7\n\n[data]\nname = "x"\n'


def test_executed_macs_are_added_up_over_the_generations(record: RunRecord) -> None:
    events = [
        {"event": "generation", "macs": 5},
        {"event": "generation", "search": "a", "macs": 7},
        {"event": "generation"},
        {"event": "generation", "macs": "many"},
        {"event": "tested", "macs": 100},
    ]
    assert provenance.executed_macs(replace(record, events=events)) == 12
    assert provenance.executed_macs(replace(record, events=[])) == 0


def test_candidates_are_told_apart_by_where_their_counts_came_from(record: RunRecord) -> None:
    events = [
        {"event": "generation", "evaluated": 1000, "from_cache": 3, "from_file": 0},
        {"event": "generation", "search": "a", "evaluated": 500, "from_cache": 9, "from_file": 2},
        {"event": "generation", "evaluated": "many"},
        {"event": "tested", "evaluated": 100},
    ]
    several = replace(record, events=events)
    assert provenance.scored_candidates(several) == {"evaluated": 1500, "from_cache": 12, "from_file": 2}
    words = "1,500 evaluated, 12 from the cache (2 of them by an earlier process)"
    assert provenance.scored_words(several) == words
    events.append({"event": "generation", "evaluated": 0, "from_cache": 0, "raced": 7, "images_saved": 4200})
    raced = f"{words}; racing stopped 7 early and saved 4,200 images"
    assert provenance.scored_words(replace(record, events=events)) == raced
    assert provenance.scored_words(replace(record, events=[])) == ""


def test_warnings_are_listed_once(record: RunRecord) -> None:
    said = [{"event": "warning", "message": text} for text in ("b", "a", "b")]
    assert provenance.warnings(replace(record, events=[*said, {"event": "warning"}])) == ["b", "a"]
