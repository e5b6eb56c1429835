"""The command line: one verb per stage and per task, each a thin shell that imports what it runs only when it runs."""

import errno
import logging
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from pipeline import __version__
from pipeline.errors import PipelineError

app = typer.Typer(help="WoW Raid Telemetry", no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False)
store_app = typer.Typer(
    help="The object store: start, stop and see the embedded one, or use another.", no_args_is_help=True
)
app.add_typer(store_app, name="store")


REMEDIES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`)",
    errno.EROFS: "make it writable, or work in a checkout elsewhere",
    errno.EACCES: "let this user read and write there",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`)",
}
"""What a user can do about an error of the operating system; the others are faults of the pipeline."""


def main() -> None:
    """Run a command; an error that a user can mend ends it with one message and exit code 1."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    _unwind_when_terminated()
    try:
        app()
    except PipelineError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        where, what = error.filename or Path.cwd(), os.strerror(error.errno)
        _fail(f"{where}: {what}: {REMEDIES[error.errno]}, and run again; nothing half-written is left")


def _fail(message: str) -> None:
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    sys.exit(1)


def _unwind_when_terminated() -> None:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does: it stops what it started and removes what is half done."""

    def leave(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) == signal.SIG_DFL:
            signal.signal(each, leave)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def simulate() -> None:
    """Stage: simulate the teams' seasons into data/simulated/."""
    from pipeline import simulate as stage

    stage.run()


@app.command("import-logs")
def import_logs() -> None:
    """Stage: read the combat logs of data/raw/ into data/imported/."""
    from pipeline import combatlog

    combatlog.run()


@app.command()
def ingest() -> None:
    """Stage: deliver all events over HTTP and bring what Bronze stored into data/bronze/."""
    from pipeline import ingest as stage

    stage.run()


@app.command()
def silver() -> None:
    """Stage: clean, deduplicate and enrich Bronze into data/silver/."""
    from pipeline import silver as stage

    stage.run()


@app.command()
def gold() -> None:
    """Stage: build the Gold tables in data/gold/."""
    from pipeline import gold as stage

    stage.run()


@app.command()
def features() -> None:
    """Stage: what is known of each pull before it and in its first seconds, and how each player behaved."""
    from pipeline import features as stage

    stage.run()


@app.command()
def eda() -> None:
    """Stage: execute the exploration notebook into reports/notebooks/."""
    from pipeline import notebooks

    notebooks.run("01-eda")


@app.command()
def classify() -> None:
    """Stage: execute the study of outcomes; models into models/outcome/, its page into reports/notebooks/."""
    from pipeline import notebooks

    notebooks.run("02-classification", kernel="automl", section="classify")


@app.command()
def report() -> None:
    """Stage: build the paper, reports/report.{en,es}.pdf and .html, from what the other stages measured."""
    from pipeline import report as stage

    stage.run()


@app.command()
def cluster() -> None:
    """Stage: execute the notebook on play styles: models/playstyle/, tables, metrics and figures."""
    from pipeline import notebooks

    notebooks.run("03-clustering", section="cluster")


@app.command()
def score() -> None:
    """Stage: compare what the studies found and the layers caught with the simulation's truth."""
    from pipeline import score as stage

    stage.run()


@app.command()
def publish() -> None:
    """Stage: put Silver and Gold into their buckets."""
    from pipeline import publish as stage

    stage.run()


@app.command("import-log")
def import_log(
    file: Annotated[Path, typer.Argument(help="A WoWCombatLog*.txt, plain, .gz or .zst.")],
    url: Annotated[
        str | None, typer.Option(help="The receiver; by default the one of FLASK_HOST and FLASK_PORT.")
    ] = None,
    year: Annotated[int | None, typer.Option(help="The year of the log's first line, where it names none.")] = None,
    utc_offset: Annotated[
        str | None, typer.Option(help="The log's offset from UTC, like +02:00, where it names none.")
    ] = None,
    raid_id: Annotated[
        str | None, typer.Option(help="The raid's id; by default made from the log's date and content.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Also copy the log into data/raw/ for the next dvc repro.")
    ] = False,
    pseudonymise: Annotated[
        bool,
        typer.Option(
            "--pseudonymise",
            help="Replace players' and pets' names and guids by stable pseudonyms, in the kept copy too. Their key is "
            "PSEUDONYM_KEY of the environment or .env, made there the first time.",
        ),
    ] = False,
    keep_realm: Annotated[
        bool, typer.Option("--keep-realm", help="With --pseudonymise: leave the realm in names and guids.")
    ] = False,
) -> None:
    """Read a combat log and post its events to a running receiver."""
    from pipeline import combatlog
    from pipeline.combatlog import pseudonyms

    if keep_realm and not pseudonymise:
        raise PipelineError("--keep-realm says what --pseudonymise leaves: give both, or neither")
    chosen = pseudonyms.from_settings(keep_realm) if pseudonymise else None
    combatlog.import_log(file, url=url, year=year, utc_offset=utc_offset, raid_id=raid_id, keep=keep, pseudonyms=chosen)


@app.command()
def receive(
    host: Annotated[str | None, typer.Option(help="Address to listen on; FLASK_HOST by default.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, 0 for a free one; FLASK_PORT by default.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Server processes.")] = 2,
    replay_clock: Annotated[
        bool, typer.Option("--replay-clock", help="Let the sender state when a batch arrived (for replay only).")
    ] = False,
    until_stdin_ends: Annotated[bool, typer.Option("--until-stdin-ends", hidden=True)] = False,
) -> None:
    """Receive events over HTTP, validate them and store them in Bronze."""
    from pipeline import receiver

    receiver.serve(host, port, workers, replay_clock, until_stdin_ends)


@app.command()
def replay(
    num_raids: Annotated[int, typer.Option(min=1, help="Raids to simulate and send.")] = 5,
    num_events_per_raid: Annotated[int, typer.Option(min=10, help="About how many events each has.")] = 50,
    batch_size: Annotated[int, typer.Option(min=1, max=10_000, help="Events per micro-batch.")] = 25,
    output_mode: Annotated[
        str, typer.Option(help="http: post to a receiver; file: write the batches as JSON files.")
    ] = "http",
    output_dir: Annotated[Path, typer.Option(help="Where --output-mode file writes.")] = Path("data/replay"),
    url: Annotated[
        str | None, typer.Option(help="The receiver; by default the one of FLASK_HOST and FLASK_PORT.")
    ] = None,
    source: Annotated[
        Path | None, typer.Option(help="Send the raids of this folder (data/simulated, say) instead of new ones.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests under way at once.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated raids.")] = 0,
) -> None:
    """Send raid events to a receiver in micro-batches and account for every one."""
    from pipeline import replay as client

    client.run(
        client.ReplayOptions(
            num_raids=num_raids,
            num_events_per_raid=num_events_per_raid,
            batch_size=batch_size,
            output_mode=output_mode,
            output_dir=output_dir,
            url=url,
            source=source,
            concurrency=concurrency,
            seed=seed,
        )
    )


@app.command()
def summary() -> None:
    """Say what the last run made, where it lies, whether the store runs, and what to open next."""
    from pipeline import summary as report

    typer.echo(report.describe())


@app.command()
def predict(
    raid_id: Annotated[str, typer.Argument(help="A raid of Gold, simulated or from a log, like raid017.")],
    encounter_id: Annotated[str | None, typer.Option(help="Only this pull.")] = None,
) -> None:
    """Say how likely each pull of a raid was to end in a kill, as seen T seconds into it."""
    from pipeline import predict as prediction

    typer.echo(prediction.describe(raid_id, encounter_id))


@app.command()
def calibrate() -> None:
    """Say whether simulated raids look like real ones: a table, reports/calibration.svg, and a failure if not."""
    from pipeline import calibrate as comparison

    comparison.run()


@app.command()
def watch(
    raid_id: Annotated[str, typer.Argument(help="A raid of Gold, simulated or from a log, like raid017.")],
    encounter_id: Annotated[
        str | None, typer.Option(help="Which pull; by default the first kill, else the longest.")
    ] = None,
    speed: Annotated[float, typer.Option(help="Seconds of the pull in a second.")] = 10.0,
) -> None:
    """Play a pull in the terminal: the boss, who lives, who does most, who died."""
    from pipeline import watch as player

    player.watch(raid_id, encounter_id, speed)


@app.command("plots-page")
def plots_page() -> None:
    """Write the page that `dvc plots` fills, with its scripts inside, so that it draws without a network."""
    from pipeline import plots_page as page

    page.run()


@app.command()
def document() -> None:
    """Write docs/event.schema.json and docs/data-dictionary.md from the contracts."""
    from pipeline import dictionary

    dictionary.run()


@store_app.command("up")
def store_up() -> None:
    """Start the embedded store (it runs until `store down`)."""
    from pipeline import embedded_store

    typer.echo(embedded_store.up().describe())


@store_app.command("down")
def store_down() -> None:
    """Stop the embedded store; its data stay."""
    from pipeline import embedded_store

    typer.echo("stopped" if embedded_store.down() else "was not running")


@store_app.command("status")
def store_status() -> None:
    """Say which store is in use and whether it answers."""
    from pipeline import embedded_store

    typer.echo(embedded_store.status().describe())


@store_app.command("use")
def store_use(
    endpoint: Annotated[str, typer.Argument(help="http(s)://host:port of MinIO or another S3, or `embedded`.")],
    access_key: Annotated[str | None, typer.Option(help="By default S3_ACCESS_KEY of the environment or .env.")] = None,
    secret_key: Annotated[str | None, typer.Option(help="By default S3_SECRET_KEY of the environment or .env.")] = None,
) -> None:
    """Point the pipeline and DVC's remote to another S3; its buckets are created where missing."""
    from pipeline import embedded_store

    typer.echo(embedded_store.use(endpoint, access_key=access_key, secret_key=secret_key).describe())
