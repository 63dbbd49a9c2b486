import logging
import math
import re

from pipeline.training import progress as progresses
from pipeline.training.progress import Progress

METRICS = {"loss": 0.5, "val_macro_recall": 0.9, "val_recall/porn": 0.75, "val_recall/neutral": 0.99}


def train(progress: Progress) -> None:
    with progress:
        for epoch in (1, 2):  # it goes on at the second
            progress.begin_epoch(epoch, 0)
            for seen in (40, 80, 100):
                progress.advance(seen)
            progress.end_epoch(METRICS)


def test_off_a_terminal_each_long_epoch_is_a_line(caplog, capsys, monkeypatch):
    monkeypatch.setattr(progresses, "_SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr(progresses, "_LINES", math.inf)
    with caplog.at_level(logging.INFO):
        train(Progress("finetune", 3, 100, ("porn", "sexy"), tty=False))
    first, last = caplog.messages
    assert first.startswith("finetune epoch 2/3: loss 0.500, macro recall 0.900, porn 0.750; ")
    assert re.search(r"; \d+ images/s, .+ left$", first)
    assert last.endswith("nothing left")
    assert capsys.readouterr().err == ""


def test_off_a_terminal_short_epochs_share_a_line(caplog):
    with caplog.at_level(logging.INFO):
        train(Progress("finetune", 3, 100, ("porn",), tty=False))
    assert [line.partition(":")[0] for line in caplog.messages] == ["finetune epoch 2/3"]


def test_on_a_terminal_it_is_a_bar(caplog, capsys):
    with caplog.at_level(logging.INFO):
        train(Progress("finetune", 3, 100, ("porn",), tty=True))
    shown = capsys.readouterr().err
    assert caplog.messages == []
    assert "finetune epoch 3/3" in shown
    assert "100%" in shown
    assert "porn 0.750" in shown
    assert "img/s" in shown
