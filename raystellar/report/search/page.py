"""The page of a search for hyperparameters: one file that needs no other, for a browser by day and by night."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

from markupsafe import Markup

from raystellar.files import places
from raystellar.report.page import (
    bold,
    code,
    columns,
    count,
    details,
    duration,
    figure,
    header,
    html_page,
    joined,
    listed,
    listing,
    paragraph,
    percent,
    picture,
    section,
    table,
    tile,
    wide,
)
from raystellar.report.search import choices, figures
from raystellar.report.search.choices import spoken
from raystellar.report.search.figures import in_epochs
from raystellar.report.svg import inline_svg
from raystellar.schema import REPORT_NAME
from raystellar.search.config import TuneConfig
from raystellar.search.schedule import milestones
from raystellar.search.space import Space
from raystellar.search.trials import DONE, FAILED, WAITING, Trial, best
from raystellar.targets import TARGETS

EDGE = 0.1
"""Share of a range, or of its logarithm, that counts as its edge."""

TIME = "ms for 256 spectra"

SAMPLERS = {"tpe": "tree-structured Parzen estimator", "gp": "Gaussian process", "random": "random"}
OBJECTIVES = {
    "loss": "validation loss",
    "parameters": "Pareto front of validation loss and number of parameters",
    "time": "Pareto front of validation loss and time of inference",
}


def write_search_report(out: str, trials: Sequence[Trial], config: TuneConfig, epochs: int, space: Space) -> None:
    """Write ``report.html``: what was searched and found, how the losses came down, and what mattered.

    Parameters
    ----------
    out : folder of the search, a path or a URL
    trials : all of the search
    config : of the search
    epochs : of a whole training
    space : the trials were chosen from

    Raises
    ------
    OutputError : it cannot be written
    """
    page = search_page(out, trials, config, epochs, space)
    places.write_bytes(places.join(out, REPORT_NAME), page.encode())


def search_page(out: str, trials: Sequence[Trial], config: TuneConfig, epochs: int, space: Space) -> Markup:
    """Return the page; see ``write_search_report``."""
    winner = best(trials)
    parts = [_head(out, trials, config, epochs, winner)]
    if winner:
        parts += [_winner(out, winner, space), _finalists(trials, epochs)]
        parts += [_history(trials, config, epochs), _curves(trials, config, epochs)]
        parts += [_parallel(trials, config, space), _importance(trials, config, epochs, space)]
        parts += [_fronts(trials, config, epochs)]
    parts += [_states(trials, config, epochs), _all_trials(trials, config, epochs, space)]
    return html_page(f"Search for hyperparameters: {out}", parts)


def _head(out: str, trials: Sequence[Trial], config: TuneConfig, epochs: int, winner: Trial | None) -> str:
    spent, whole = sum(trial.cost(epochs) for trial in trials), len(trials) * epochs
    tiles = [
        tile(count(len(trials)), f"trials in {_generations(trials)}"),
        tile(count(spent), f"epochs trained, {percent(spent, whole)} of {len(trials)} whole trainings"),
        tile(duration(sum(t.seconds for t in trials)), "of training, all workers together"),
    ]
    if winner:
        mean = f", mean of {1 + len(winner.repeats)} seeds" if winner.repeats else ""
        reached = f"validation loss of the winner, trial {winner.number}, after {in_epochs(winner.epochs)}{mean}"
        parameters = tile(count(winner.parameters), "parameters of the winner")
        tiles = [tile(_loss(winner.mean_loss()), reached, best=True), parameters, *tiles]
    rungs = milestones(config, epochs)[:-1]
    halving = (
        f"after {listed(rungs)} of {epochs} epochs, one of {config.keep} went on"
        if rungs
        else f"every trial was trained for all {in_epochs(epochs)}"
    )
    if any(trial.repeats for trial in trials):
        halving += f"; finalists were trained with {config.seeds} seeds"
    text = (
        f"Sampler: {SAMPLERS[config.sampler]}, {config.generation} choices proposed at a time; {halving}. "
        f"Sought: {OBJECTIVES[config.objective]}. Seed {config.seed}."
    )
    return header("Search for hyperparameters", out, text, tiles)


def _winner(out: str, winner: Trial, space: Space) -> str:
    rows = [
        [name, bold(spoken(winner.choice[name])), searched, edge] for name, searched, edge in _ranges(winner, space)
    ]
    half = -(-len(rows) // 2)
    tables = [table(["parameter", "winner", "searched", ""], part) for part in (rows[:half], rows[half:]) if part]
    mean = f" ({_loss(winner.mean_loss())} as the mean of {1 + len(winner.repeats)} seeds)" if winner.repeats else ""
    command = f"raystellar train DATASET --config {places.join(out, 'best.toml')} --out MODEL"
    return section(
        "winner",
        f"The winner: trial {winner.number}",
        paragraph(
            f"Validation loss {winner.loss():.5f} after {in_epochs(winner.epochs)}{mean}, {count(winner.parameters)} "
            f"parameters{_errors(winner)}. To train it, with its settings in ",
            code("best.toml"),
            ":",
        ),
        listing(command),
        columns(*tables),
    )


def _finalists(trials: Sequence[Trial], epochs: int) -> str:
    """Return the table of the trials with further seeds; nothing where there are none."""
    rows = sorted((trial for trial in trials if trial.repeats), key=Trial.mean_loss)
    if not rows:
        return ""
    seeds = range(1 + max(len(trial.repeats) for trial in rows))
    lines = []
    for trial in rows:
        losses = [trial.loss(), *(trial.repeats.get(str(seed), math.inf) for seed in seeds[1:])]
        spread = statistics.stdev(losses) if all(map(math.isfinite, losses)) else math.inf
        lines.append([str(trial.number), *map(_loss, losses), _loss(trial.mean_loss()), _loss(spread)])
    head = ["trial", "first seed", *(f"seed +{seed}" for seed in seeds[1:]), "mean", "spread"]
    names, cells = _differences(rows)
    return section(
        "finalists",
        "The finalists",
        paragraph(
            f"The best trials, trained for {in_epochs(epochs)} with each seed: the least mean wins. The spread is the "
            "standard deviation over the seeds; means that differ by less are as good as each other. Parameters are "
            "shown where the finalists differ."
        ),
        wide(table([*head, *names], _beside(lines, cells), numbers=len(head), marked=0)),
    )


def _errors(winner: Trial) -> str:
    """Return the winner's errors on the validation set at its least loss."""
    finite = [loss if math.isfinite(loss) else math.inf for loss in winner.validation]
    at = finite.index(min(finite))
    if at >= len(winner.mae):
        return ""
    errors = (f"{value:.3g} {t.unit} in {t.name}" for value, t in zip(winner.mae[at], TARGETS, strict=True))
    return f"; mean absolute errors {listed(errors)}"


def _ranges(winner: Trial, space: Space) -> Iterator[tuple[str, str, str]]:
    """Yield name, what was searched, and whether the winner lies at the edge of it."""
    for name, (low, high) in space.ranges.items():
        place = math.log(winner.choice[name] / low) / math.log(high / low)
        edge = "near the top" if place > 1 - EDGE else "near the bottom" if place < EDGE else ""
        yield name, f"{spoken(low)} to {spoken(high)}", edge
    for name, values in (space.ordered | space.named).items():
        ends = {0: "lowest", len(values) - 1: "highest"} if name in space.ordered and len(values) > 1 else {}
        edge = ends.get(values.index(winner.choice[name]), "")
        yield name, ", ".join(map(spoken, values)), edge


def _history(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> str:
    caption = "Left: the least validation loss of each trial, in the colour of how far it was trained"
    caption += ", generations parted by dotted lines" if trials[-1].generation else ""
    caption += ". Right: the least loss of all trials so far, in the order in which the search trained them."
    draw = partial(figures.draw_history, trials=trials, config=config, epochs=epochs)
    return figure("history", "How the best was found", caption, inline_svg(draw, (10.6, 4.2), "history", "losses"))


def _curves(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> str:
    rungs = milestones(config, epochs)[:-1]
    caption = "Each line is a trial, in the colour of how far it was trained; the winner is thick. "
    if rungs:
        caption += f"At {'the rungs' if len(rungs) > 1 else 'the rung'} (dashed) only the best went on. All follow the "
        caption += "learning rate of a whole training, so that losses at one epoch can be compared. "
    caption += "The training loss is measured under noise and dropout, and may lie above that of the validation."
    draw = partial(figures.draw_curves, trials=trials, config=config, epochs=epochs)
    return figure("curves", "Learning curves", caption, inline_svg(draw, (10.6, 4.2), "curves", "learning curves"))


def _parallel(trials: Sequence[Trial], config: TuneConfig, space: Space) -> str:
    winner, shown = best(trials), min(choices.BEST, len(choices.ranked(trials, config)))
    caption = f"Each line is a choice; stronger is better by rank, the best {shown} are on top"
    caption += f" and trial {winner.number}, the winner, is thick" if winner else ""
    caption += ". Further trained ranks before less trained, then "
    caption += "the lower loss before the higher" if config.objective == "loss" else "front before front"
    caption += ". Learning rate and weight decay are logarithmic; lines through one value are spread for the eye."
    draw = partial(choices.draw_parallel, trials=trials, config=config, space=space)
    svg = inline_svg(draw, (10.6, 5.0), "parallel", "parallel coordinates")
    return figure("parallel", "Which choices do well", caption, svg)


def _importance(trials: Sequence[Trial], config: TuneConfig, epochs: int, space: Space) -> str:
    at = milestones(config, epochs)[0]
    shares = choices.importances(trials, space, at)
    title = "What matters for the loss"
    if not shares:
        few = f"Not shown: it takes {choices.LEAST_TRIALS} trials with different losses after {in_epochs(at)}."
        return section("importance", title, paragraph(few, muted=True))
    early = (
        "early loss, as all trials share only these epochs, not the loss at the end" if at < epochs else "final loss"
    )
    caption = (
        f"How much of the spread in rank by loss after {in_epochs(at)} each parameter explains (functional ANOVA of a "
        f"random forest): this is about the {early}. Right: those losses by the three parameters that matter most; the "
        "bars are the medians of each value, or of each fifth of a range, and the ring is the winner."
    )
    draw = partial(choices.draw_importances, shares=shares, trials=trials, space=space, at=at)
    svg = inline_svg(draw, (10.6, 3.9), "importance", "importance of parameters")
    return figure("importance", title, caption, svg)


def _fronts(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> str:
    timed = config.objective == "time"
    caption = "Trials on the line are beaten by no other in both; their numbers stand beside them. Losses are compared "
    caption += "only between trials that were trained as far, with the first seed."
    draw = partial(figures.draw_fronts, trials=trials, config=config, epochs=epochs)
    svg = inline_svg(draw, (10.6, 7.4 if timed else 3.8), "fronts", "Pareto front")
    tables = [_front_table(trials, cost, epochs) for cost in (("parameters", "time") if timed else ("parameters",))]
    if config.objective != "loss":
        words = paragraph("The settings of the front that was sought are in the folder ", code("front"), ".")
        tables.append(words)
    return section("front", "Loss against cost", paragraph(caption), picture(svg), *tables)


def _front_table(trials: Sequence[Trial], cost: str, epochs: int) -> str:
    furthest = min(epochs, max(trial.epochs for trial in trials if math.isfinite(trial.loss())))
    rows = figures.front(trials, cost, furthest)
    timed = [TIME] if any(trial.predict_ms for trial in rows) else []
    names, cells = _differences(rows)
    lines = [
        [str(trial.number), _loss(trial.loss()), count(trial.parameters), *(f"{trial.predict_ms:.2f}" for _ in timed)]
        for trial in rows
    ]
    head = ["trial", "loss", "parameters", *timed]
    words = figures.COSTS[cost][1].split(" [")[0]
    return joined(
        [
            paragraph(f"The front of loss and {words}, after {in_epochs(furthest)}:"),
            wide(table([*head, *names], _beside(lines, cells), numbers=len(head))),
        ]
    )


def _differences(trials: Sequence[Trial]) -> tuple[list[str], list[list[str]]]:
    """Return the parameters in which trials differ, and their values by trial."""
    said = [{name: spoken(value) for name, value in trial.choice.items()} for trial in trials]
    names = [name for name in said[0] if len({one[name] for one in said}) > 1] if said else []
    return names, [[one[name] for name in names] for one in said]


def _beside(left: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[*a, *b] for a, b in zip(left, right, strict=True)]


def _states(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> str:
    groups: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: (bool(trial.failure), -trial.epochs)):
        groups.setdefault(_state(trial, epochs), []).append(trial)
    rows = [_state_row(state, members, epochs) for state, members in groups.items()]
    head = ["state", "trials", "epochs", "training [s]", "overhead [s]", "overhead a trial [s]"]
    content = [
        wide(table(head, [*rows, _state_row("all", trials, epochs)], numbers=range(1, 6))),
        paragraph("Overhead is what workers spent on trials besides training them.", muted=True),
    ]
    reasons = Counter(trial.failure for trial in trials if trial.failure)
    if reasons:
        who = {reason: listed(str(t.number) for t in trials if t.failure == reason) for reason in reasons}
        lines = [[reason, str(trials), who[reason]] for reason, trials in reasons.most_common()]
        content += [paragraph("Failures:"), table(["reason", "trials", "which"], lines)]
    return section("states", "What became of the trials", *content)


def _state(trial: Trial, epochs: int) -> str:
    state = trial.state(epochs)
    words = {DONE: f"trained to the end ({in_epochs(epochs)})", FAILED: "failed", WAITING: "never trained"}
    return words.get(state, f"stopped after {in_epochs(trial.epochs)}")


def _state_row(state: str, members: Sequence[Trial], epochs: int) -> list[str]:
    seconds, overhead = sum(t.seconds for t in members), sum(t.overhead for t in members)
    spent = count(sum(t.cost(epochs) for t in members))
    return [state, str(len(members)), spent, f"{seconds:.1f}", f"{overhead:.1f}", f"{overhead / len(members):.2f}"]


def _all_trials(trials: Sequence[Trial], config: TuneConfig, epochs: int, space: Space) -> str:
    names = [*space.ranges, *space.ordered, *space.named]
    timed = [TIME] if any(trial.predict_ms for trial in trials) else []
    head = ["trial", "generation", "loss", "epochs", "seconds", "parameters", *timed]
    rows = []
    for trial in trials:
        row = [str(trial.number), str(trial.generation), _loss(trial.loss()), str(trial.epochs), f"{trial.seconds:.1f}"]
        row += [count(trial.parameters), *(f"{trial.predict_ms:.2f}" for _ in timed)]
        rows.append([*row, *(spoken(trial.choice[name]) for name in names)])
    winner = best(trials)
    all_of_them = table([*head, *names], rows, numbers=range(len(head)), marked=winner.number if winner else None)
    return section("trials", "All trials", details(f"{len(trials)} trials", wide(all_of_them)))


def _loss(loss: float) -> str:
    return f"{loss:.5f}" if math.isfinite(loss) else "none"


def _generations(trials: Sequence[Trial]) -> str:
    number = len({trial.generation for trial in trials})
    return f"{number} generation{'s' * (number != 1)}"
