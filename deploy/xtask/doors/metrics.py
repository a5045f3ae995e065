"""Shows that `/metrics` is what Prometheus and its tools read, in both forms.

Setup: a server that has served people over each transport. Action: a scrape by the Accept of nobody
in particular, and one by that of a Prometheus that asks for OpenMetrics. Expectation: `promtool check
metrics` says nothing; the strict parser of OpenMetrics and that of the text form, both of Prometheus'
own client for Python, read all of it; every family has a help, a kind and at least one sample; sizes
and times are in base units and OpenMetrics says so; and both forms name the same families.
"""

import http.client
import os
import subprocess

from door import ADMIN, HOST, JSON_PROTOCOL, PATIENCE_S, SERVER, Person, Tally
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_text

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
# What a Prometheus 2.5 or newer sends.
ACCEPT_OPEN = ("application/openmetrics-text;version=1.0.0;q=0.5,"
               "text/plain;version=0.0.4;q=0.3,*/*;q=0.2")
BASE_UNITS = ("seconds", "bytes")
NO_BASE_UNITS = ("ms", "us", "ns", "milliseconds", "kb", "mib", "percent")


def scrape(accept):
    """The content type and the text."""
    connection = http.client.HTTPConnection(HOST, ADMIN.port, timeout=PATIENCE_S)
    try:
        connection.request("GET", "/metrics", headers={"Accept": accept})
        answer = connection.getresponse()
        return answer.getheader("Content-Type"), answer.read().decode()
    finally:
        connection.close()


def talk(tally):
    """A message over each pairing that counts something of its own."""
    people = [Person(), Person()]
    tally.shows("metrics: people are there", [who.sign_in(SERVER) for who in people], [True] * 2)
    for transport in ("tcp", JSON_PROTOCOL):
        clients = [who.live(SERVER, transport) for who in people]
        clients[0].send(people[1].user, b"counted", timeout=PATIENCE_S)
        push = clients[1].wait(lambda event: event["type"] == "new_message", PATIENCE_S)
        clients[1].ack(push["push"])
        for client in clients:
            client.bye(PATIENCE_S)


def said(read, text):
    """The families by name; or how the parser complains."""
    try:
        return {family.name: family for family in read(text)}
    except ValueError as error:
        return f"{type(error).__name__}: {error}"


def unit_of(name):
    end = name.rsplit("_", 1)[-1]
    return end if end in BASE_UNITS else ""


def judge(tally, form, families):
    """What both forms must say of each family."""
    if isinstance(families, str):
        tally.shows(f"metrics, {form}: the parser reads it", families, {})
        return
    tally.shows(f"metrics, {form}: there are families", len(families) > 50)
    for what, is_bad in (
        ("has no help", lambda it: not it.documentation.endswith(".")),
        ("is of no kind", lambda it: it.type not in ("counter", "gauge", "histogram")),
        ("has no sample", lambda it: not it.samples),
        ("has a unit that is no base unit", lambda it: it.name.rsplit("_", 1)[-1] in NO_BASE_UNITS),
        ("is not of this server", lambda it: not it.name.startswith("ringpost_")),
    ):
        found = [name for name, family in families.items() if is_bad(family)]
        tally.shows(f"metrics, {form}: no family {what}", found, [])


def main():
    tally = Tally()
    talk(tally)
    kind, text = scrape("*/*")
    tally.shows("metrics: who asks for nothing gets the text form", kind, TEXT)
    done = subprocess.run([os.environ["DOOR_PROMTOOL"], "check", "metrics"], input=text,
                          capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    tally.shows("metrics: promtool finds nothing", (done.returncode, done.stdout + done.stderr),
                (0, ""))
    plain = said(read_text, text)
    judge(tally, "text form", plain)
    kind, text = scrape(ACCEPT_OPEN)
    tally.shows("metrics: who asks for OpenMetrics gets it", kind, OPEN_METRICS)
    tally.shows("metrics, OpenMetrics: ends as it must", text.endswith("\n# EOF\n"))
    opened = said(read_open, text)
    judge(tally, "OpenMetrics", opened)
    wrong = [name for name, family in opened.items() if family.unit != unit_of(name)]
    tally.shows("metrics, OpenMetrics: units are said", wrong, [])
    # The two parsers leave `_total` to the samples, so that the names are comparable.
    tally.shows("metrics: both forms have the same families", sorted(set(plain) ^ set(opened)), [])
    tally.end()


main()
