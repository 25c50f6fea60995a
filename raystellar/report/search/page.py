"""The report of a search for hyperparameters, as one HTML file."""

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
from raystellar.report.search.figures import in_epochs, in_trials
from raystellar.report.svg import inline_svg
from raystellar.schema import REPORT_NAME
from raystellar.search.config import TuneConfig
from raystellar.search.schedule import milestones
from raystellar.search.space import Space
from raystellar.search.trials import DONE, FAILED, WAITING, Trial, best
from raystellar.targets import TARGETS

EDGE_SHARE = 0.1
"""Share of the logarithm of a range that counts as near its end."""

TIME_HEAD = "ms for 256 spectra"
"""Head of the column of inference times."""

SAMPLERS = {"tpe": "tree-structured Parzen estimator", "gp": "Gaussian process", "random": "random"}
"""Text for each ``TuneConfig.sampler``."""

OBJECTIVES = {
    "loss": "validation loss",
    "parameters": "Pareto front of validation loss and number of parameters",
    "time": "Pareto front of validation loss and time of inference",
}
"""Text for each ``TuneConfig.objective``."""


def write_search_report(out: str, trials: Sequence[Trial], config: TuneConfig, epochs: int, space: Space) -> None:
    """Write the report to the folder of the search.

    Parameters
    ----------
    out : folder of the search, a path or URL
    trials : all trials of the search
    config : settings of the search
    epochs : epochs of a whole training
    space : space of the choices

    Raises
    ------
    OutputError : the file cannot be written
    """
    page = search_page(out, trials, config, epochs, space)
    places.write_bytes(places.join(out, REPORT_NAME), page.encode())


def search_page(out: str, trials: Sequence[Trial], config: TuneConfig, epochs: int, space: Space) -> Markup:
    """Return the report; see ``write_search_report``. A figure is left out if the search has too few trials for it."""
    winner = best(trials)
    parts = [_head(out, trials, config, epochs, winner)]
    if winner:
        parts += [_winner(out, winner, space), _finalists(trials, epochs)]
        parts += [_history(trials, config, epochs), _curves(trials, config, epochs)]
        parts += [_parallel(trials, config, space), _importance(trials, config, epochs, space)]
        parts += [_fronts(trials, config, epochs)]
    parts += [_states(trials, epochs), _all_trials(trials, config, epochs, space)]
    return html_page(f"Search for hyperparameters: {out}", parts)


def _head(out: str, trials: Sequence[Trial], config: TuneConfig, epochs: int, winner: Trial | None) -> Markup:
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
        f"One in {config.keep} trials continued after {listed(rungs)} of {epochs} epochs"
        if rungs
        else f"Every trial was trained for all {in_epochs(epochs)}"
    )
    if any(trial.repeats for trial in trials):
        halving += f"; finalists were trained with {config.seeds} seeds"
    text = (
        f"Sampler: {SAMPLERS[config.sampler]}, {config.generation} choices proposed at a time. {halving}. "
        f"Objective: {OBJECTIVES[config.objective]}. Seed: {config.seed}. The loss is the weighted Huber loss of the "
        "scaled labels, which has no unit."
    )
    return header("Search for hyperparameters", out, text, tiles)


def _winner(out: str, winner: Trial, space: Space) -> Markup:
    rows = [[name, bold(spoken(winner.choice[name])), values, edge] for name, values, edge in _ranges(winner, space)]
    half = -(-len(rows) // 2)
    head = ["parameter", "winner", "searched", "edge"]
    tables = columns(*(table(head, part) for part in (rows[:half], rows[half:]) if part))
    mean = f" ({_loss(winner.mean_loss())} as the mean of {1 + len(winner.repeats)} seeds)" if winner.repeats else ""
    summary = (
        f"Validation loss {winner.loss():.5f} after {in_epochs(winner.epochs)}{mean}, {count(winner.parameters)} "
        f"parameters{_errors(winner)}. The settings are in "
    )
    command = f"raystellar train DATASET --config {places.join(out, 'best.toml')} --out MODEL"
    return section(
        "winner",
        f"Winner: trial {winner.number}",
        paragraph(summary, code("best.toml"), ". To train a model with them:"),
        listing(command),
        tables,
        paragraph("A winner at an edge suggests to search beyond it (section space of the settings).", muted=True)
        if any(edge for *_, edge in rows)
        else Markup(),
    )


def _finalists(trials: Sequence[Trial], epochs: int) -> Markup:
    """Return the table of the trials with further seeds; empty if there are none."""
    rows = sorted((trial for trial in trials if trial.repeats), key=Trial.mean_loss)
    if not rows:
        return Markup()
    seeds = range(1 + max(len(trial.repeats) for trial in rows))
    lines = []
    for trial in rows:
        losses = [trial.loss(), *(trial.repeats.get(str(seed), math.inf) for seed in seeds[1:])]
        spread = statistics.stdev(losses) if all(map(math.isfinite, losses)) else math.inf
        lines.append([str(trial.number), *map(_loss, losses), _loss(trial.mean_loss()), _loss(spread)])
    head = ["trial", "first seed", *(f"seed +{seed}" for seed in seeds[1:]), "mean", "spread"]
    names, cells = _differences(rows)
    text = "The spread is the standard deviation of the losses over the seeds, each trained for "
    text += f"{in_epochs(epochs)}."
    if len(rows) > 1:
        text += " The trial with the least mean wins; means that differ by less than the spread are equally good. The "
        text += "last columns are the parameters in which the finalists differ."
    losses_table = table([*head, *names], _beside(lines, cells), numbers=len(head), marked=0)
    return section("finalists", "Finalists", paragraph(text), wide(losses_table))


def _errors(winner: Trial) -> str:
    """Return the errors of the winner on the validation set at its least loss, as text."""
    finite = [loss if math.isfinite(loss) else math.inf for loss in winner.validation]
    at = finite.index(min(finite))
    if at >= len(winner.mae):
        return ""
    errors = (f"{value:.3g} {t.unit} in {t.name}" for value, t in zip(winner.mae[at], TARGETS, strict=True))
    return f"; mean absolute errors {listed(errors)}"


def _ranges(winner: Trial, space: Space) -> Iterator[tuple[str, str, str]]:
    """Yield the name of each parameter, its searched values, and the edge at which the winner lies, if any."""
    for name, (low, high) in space.ranges.items():
        position = math.log(winner.choice[name] / low) / math.log(high / low)
        edge = "near the top" if position > 1 - EDGE_SHARE else "near the bottom" if position < EDGE_SHARE else ""
        yield name, f"{spoken(low)} to {spoken(high)}", edge
    for name, values in (space.ordered | space.named).items():
        ends = {0: "lowest", len(values) - 1: "highest"} if name in space.ordered and len(values) > 1 else {}
        edge = ends.get(values.index(winner.choice[name]), "")
        yield name, ", ".join(map(spoken, values)), edge


def _history(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> Markup:
    if len(choices.ranked(trials, config)) < figures.LEAST_HISTORY:
        return Markup()
    caption = "Left: the least validation loss of each trial; the colour shows how long it was trained"
    caption += ", dotted lines separate generations" if trials[-1].generation else ""
    caption += ". Right: the least loss of all trials so far, in the order of training."
    draw = partial(figures.draw_history, trials=trials, config=config, epochs=epochs)
    return figure("history", "Losses by trial", caption, inline_svg(draw, (10.6, 4.2), "history", "losses by trial"))


def _curves(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> Markup:
    rungs = milestones(config, epochs)[:-1]
    caption = "Each line is a trial; the colour shows how long it was trained. A dot is a trial of one epoch. "
    if rungs:
        caption += "Only the best trials continued after a rung. All trials follow the learning rate of a whole "
        caption += "training, so losses at one epoch can be compared. "
    caption += "The training loss includes noise and dropout and may lie above the validation loss."
    draw = partial(figures.draw_curves, trials=trials, config=config, epochs=epochs)
    return figure("curves", "Learning curves", caption, inline_svg(draw, (10.6, 4.2), "curves", "learning curves"))


def _parallel(trials: Sequence[Trial], config: TuneConfig, space: Space) -> Markup:
    if len(choices.ranked(trials, config)) < choices.LEAST_PARALLEL:
        return Markup()
    caption = "Each line is the choice of one trial. Trials rank by the epochs they were trained, then by "
    caption += "loss" if config.objective == "loss" else "Pareto front"
    caption += ". The axes of learning rate and weight decay are logarithmic. Lines through one value are spread to "
    caption += "be told apart."
    draw = partial(choices.draw_parallel, trials=trials, config=config, space=space)
    svg = inline_svg(draw, (10.6, 5.2), "parallel", "parallel coordinates")
    return figure("parallel", "Choices", caption, svg)


def _importance(trials: Sequence[Trial], config: TuneConfig, epochs: int, space: Space) -> Markup:
    at = milestones(config, epochs)[0]
    shares = choices.importances(trials, space, at)
    if not shares:
        return Markup()
    caption = (
        f"Left: share of each parameter in the variance of the ranks by loss after {in_epochs(at)} (functional ANOVA "
        "of a random forest). Right: the losses by the three most important parameters. Bars are medians of each "
        "value, or of each fifth of a range; the ring is the winner."
    )
    if at < epochs:
        caption += f" All trials share only the first {in_epochs(at)}, so this says nothing of the loss at the end."
    draw = partial(choices.draw_importances, shares=shares, trials=trials, space=space, at=at)
    svg = inline_svg(draw, (10.6, 3.9), "importance", "importance of parameters")
    return figure("importance", "Importance of the parameters", caption, svg)


def _fronts(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> Markup:
    """Return figure and tables of loss against cost; empty for few comparable trials without a Pareto objective."""
    panels = figures.front_panels(trials, config, epochs)
    if not panels and config.objective == "loss":
        return Markup()
    timed = config.objective == "time"
    caption = "No other trial beats the trials on the line in both quantities; their numbers are beside them. Losses "
    caption += "are compared between trials that were trained for as many epochs, with the first seed."
    parts = [paragraph(caption)]
    if panels:
        draw = partial(figures.draw_fronts, trials=trials, config=config, epochs=epochs)
        parts += [picture(inline_svg(draw, (10.6, 7.4 if timed else 3.8), "fronts", "Pareto front"))]
    parts += [_front_table(trials, cost, epochs) for cost in (("parameters", "time") if timed else ("parameters",))]
    if config.objective != "loss":
        parts += [paragraph("The settings of the trials on the front are in the folder ", code("front"), ".")]
    return section("front", "Loss against cost", *parts)


def _front_table(trials: Sequence[Trial], cost: str, epochs: int) -> Markup:
    """Return the table of the front of loss and one cost, after the longest training."""
    furthest = min(epochs, max(trial.epochs for trial in trials if math.isfinite(trial.loss())))
    rows = figures.front(trials, cost, furthest)
    timed = [TIME_HEAD] if any(trial.predict_ms for trial in rows) else []
    names, cells = _differences(rows)
    lines = [
        [str(trial.number), _loss(trial.loss()), count(trial.parameters), *(f"{trial.predict_ms:.2f}" for _ in timed)]
        for trial in rows
    ]
    head = ["trial", "loss", "parameters", *timed]
    words = figures.COSTS[cost][1].split(" [")[0]
    title = paragraph(f"Front of loss and {words} after {in_epochs(furthest)}:")
    return joined([title, wide(table([*head, *names], _beside(lines, cells), numbers=len(head)))])


def _differences(trials: Sequence[Trial]) -> tuple[list[str], list[list[str]]]:
    """Return the names of the parameters in which trials differ, and their values by trial."""
    texts = [{name: spoken(value) for name, value in trial.choice.items()} for trial in trials]
    names = [name for name in texts[0] if len({values[name] for values in texts}) > 1] if texts else []
    return names, [[values[name] for name in names] for values in texts]


def _beside(left: Sequence[Sequence[str]], right: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the rows of two tables side by side."""
    return [[*a, *b] for a, b in zip(left, right, strict=True)]


def _states(trials: Sequence[Trial], epochs: int) -> Markup:
    groups: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: (bool(trial.failure), -trial.epochs)):
        groups.setdefault(_state(trial, epochs), []).append(trial)
    rows = [_state_row(state, members, epochs) for state, members in groups.items()]
    rows += [_state_row("all", trials, epochs)]
    head = ["state", "trials", "epochs", "training [s]", "overhead [s]", "overhead per trial [s]"]
    parts = [
        wide(table(head, rows, numbers=range(1, 6))),
        paragraph("Overhead is the time that workers spent on trials besides training.", muted=True),
    ]
    reasons = Counter(trial.failure for trial in trials if trial.failure)
    if reasons:
        numbers = {reason: listed(str(t.number) for t in trials if t.failure == reason) for reason in reasons}
        lines = [[reason, str(failed), numbers[reason]] for reason, failed in reasons.most_common()]
        parts += [paragraph("Failures:"), table(["reason", "trials", "numbers"], lines)]
    return section("states", "States of the trials", *parts)


def _state(trial: Trial, epochs: int) -> str:
    """Return the state of a trial as text."""
    state = trial.state(epochs)
    words = {DONE: f"trained to the end ({in_epochs(epochs)})", FAILED: "failed", WAITING: "never trained"}
    return words.get(state, f"stopped after {in_epochs(trial.epochs)}")


def _state_row(state: str, members: Sequence[Trial], epochs: int) -> list[str]:
    seconds, overhead = sum(t.seconds for t in members), sum(t.overhead for t in members)
    spent = count(sum(t.cost(epochs) for t in members))
    return [state, str(len(members)), spent, f"{seconds:.1f}", f"{overhead:.1f}", f"{overhead / len(members):.2f}"]


def _all_trials(trials: Sequence[Trial], config: TuneConfig, epochs: int, space: Space) -> Markup:
    names = [*space.ranges, *space.ordered, *space.named]
    timed = [TIME_HEAD] if any(trial.predict_ms for trial in trials) else []
    head = ["trial", "generation", "loss", "epochs", "seconds", "parameters", *timed]
    rows = []
    for trial in trials:
        row = [str(trial.number), str(trial.generation), _loss(trial.loss()), str(trial.epochs), f"{trial.seconds:.1f}"]
        row += [count(trial.parameters), *(f"{trial.predict_ms:.2f}" for _ in timed)]
        rows.append([*row, *(spoken(trial.choice[name]) for name in names)])
    winner = best(trials)
    all_rows = wide(table([*head, *names], rows, numbers=range(len(head)), marked=winner.number if winner else None))
    many = len(trials) >= choices.LEAST_PARALLEL
    parts = [details(in_trials(len(trials)), all_rows) if many else all_rows, _left_out(trials, config, epochs)]
    return section("trials", "All trials", *parts)


def _left_out(trials: Sequence[Trial], config: TuneConfig, epochs: int) -> Markup:
    """Return a sentence on the figures for which the search has too few trials; empty if there are none."""
    known, at = len(choices.ranked(trials, config)), milestones(config, epochs)[0]
    needed = {
        f"losses by trial ({figures.LEAST_HISTORY})": known < figures.LEAST_HISTORY,
        f"choices ({choices.LEAST_PARALLEL})": known < choices.LEAST_PARALLEL,
        f"importance of the parameters ({choices.LEAST_IMPORTANCE} with different losses)": not choices.enough(
            trials, at
        ),
        f"loss against cost ({figures.LEAST_FRONT})": not figures.front_panels(trials, config, epochs),
    }
    missing = [name for name, absent in needed.items() if absent]
    if not missing:
        return Markup()
    return paragraph(
        f"Figures left out, with the number of comparable trials that each needs: {listed(missing)}.", muted=True
    )


def _loss(loss: float) -> str:
    return f"{loss:.5f}" if math.isfinite(loss) else "none"


def _generations(trials: Sequence[Trial]) -> str:
    number = len({trial.generation for trial in trials})
    return f"{number} generation{'s' * (number != 1)}"
