"""What the Grafana dashboard would show, drawn without Grafana: ``python -m benchmarks.dashboard http://127.0.0.1:9090 OUT.html``.

Reads the dashboard's JSON, asks a running Prometheus each panel's questions, and lays the answers out in the JSON's own grid with its
titles, units, thresholds, mappings and legends. It shows whether panels fit, say something and are lettered right; it is not Grafana's drawing.
"""

from __future__ import annotations

import json
import re
import time
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import click

DASHBOARD = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards" / "ofi_cvd_harvest.json"
CELL, ROW = 50, 34
COLORS = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0")
NAMED = {"green": "#56a64b", "red": "#d44a3a", "orange": "#e0752d", "yellow": "#e5ac0e", "text": "#9fa7b3"}
STYLE = """body{margin:0;background:#111217;color:#ccccdc;font:13px system-ui,sans-serif;position:relative}
.p{position:absolute;background:#181b1f;border:1px solid #2c3235;border-radius:2px;overflow:hidden;box-sizing:border-box;padding:6px 8px}
.r{position:absolute;font-size:15px;font-weight:600;padding-top:8px}h4{margin:0 0 4px;font-size:13px;font-weight:500}
.v{font-size:32px;font-weight:600;text-align:center;padding-top:12%;height:100%;margin:-6px -8px}.s{position:absolute;inset:0;color:#fff}
svg text{fill:#9fa7b3;font:11px system-ui}.k{font-size:11px;color:#9fa7b3}.k span{margin-right:12px}.none{color:#d44a3a;padding-top:20%;text-align:center}"""
Points = list[tuple[float, float]]


class Source:
    """A Prometheus, and the stretch that is shown."""

    def __init__(self, url: str, minutes: float) -> None:
        self.url = url
        self.end = time.time()
        self.start = self.end - 60 * minutes

    def ask(self, expr: str) -> list[tuple[dict[str, str], Points]]:
        """The series of an expression, with Grafana's variables filled in."""
        for name, value in {"$__rate_interval": "1m", "$instance": ".*", "$symbol": ".*"}.items():
            expr = expr.replace(name, value)
        query = {"query": expr, "start": self.start, "end": self.end, "step": max(1.0, (self.end - self.start) / 200)}
        with urlopen(f"{self.url}/api/v1/query_range?{urlencode(query)}", timeout=30) as answer:
            found = json.load(answer)["data"]["result"]
        return [(one["metric"], [(float(t), float(v)) for t, v in one["values"] if v != "NaN"]) for one in found]


def lettered(value: float, defaults: dict[str, Any]) -> str:
    """A value with its mapping or unit."""
    for mapping in defaults.get("mappings") or []:
        if (told := mapping["options"].get(f"{value:g}")) is not None:
            return str(told["text"])
    if defaults.get("unit") == "percentunit":
        return f"{value:.1%}"
    digits = defaults.get("decimals")
    text = f"{value:.3g}" if digits is None else f"{value:.{digits}f}"
    return f"{text} {defaults['unit']}" if defaults.get("unit") not in (None, "none", "short") else text


def color(value: float, defaults: dict[str, Any]) -> str:
    """By the thresholds."""
    steps = (defaults.get("thresholds") or {}).get("steps") or [{"color": "text", "value": None}]
    passed = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return NAMED.get(passed[-1], passed[-1])


def stat(panel: dict[str, Any], series: list[tuple[str, Points]]) -> str:
    """The last value."""
    value, defaults = series[0][1][-1][1], panel["fieldConfig"]["defaults"]
    shade, text = color(value, defaults), escape(lettered(value, defaults))
    back = panel["options"].get("colorMode") == "background"
    return f'<div class="v" style="{f"background:{shade};color:#fff" if back else f"color:{shade}"}">{text}</div>'


def lines(panel: dict[str, Any], series: list[tuple[str, Points]], source: Source, width: float, height: float) -> str:
    """Values by time, thresholds as lines."""
    defaults = panel["fieldConfig"]["defaults"]
    limits = [step for step in (defaults.get("thresholds") or {}).get("steps", []) if step["value"] is not None]
    high = max([v for _, points in series for _, v in points] + [0.0]) * 1.1 or 1.0
    left, bottom = 62.0, height - 20

    def place(t: float, v: float) -> str:
        return f"{left + (width - left) * (t - source.start) / (source.end - source.start):.1f},{bottom - (bottom - 8) * v / high:.1f}"

    body = []
    for share in (0.0, 0.5, 1.0):
        at = bottom - (bottom - 8) * share
        body.append(f'<line x1="{left}" x2="{width}" y1="{at}" y2="{at}" stroke="#2c3235"/>')
        body.append(f'<text x="{left - 6}" y="{at + 4}" text-anchor="end">{escape(lettered(high * share, defaults))}</text>')
    for step in limits:
        if step["value"] <= high:
            a, b = place(source.start, step["value"]), place(source.end, step["value"])
            body.append(f'<polyline points="{a} {b}" stroke="{NAMED.get(step["color"], step["color"])}" stroke-dasharray="6 4"/>')
    for at, (_, points) in enumerate(series):
        body.append(
            f'<polyline points="{" ".join(place(*one) for one in points)}" fill="none" stroke="{COLORS[at % 8]}" stroke-width="1.5"/>'
        )
    key = "".join(f'<span style="color:{COLORS[at % 8]}">■ {escape(name)}</span>' for at, (name, _) in enumerate(series))
    return f'<svg width="{width}" height="{height}">{"".join(body)}</svg><div class="k">{key}</div>'


def strips(panel: dict[str, Any], series: list[tuple[str, Points]], source: Source, width: float, height: float) -> str:
    """A row for each series, coloured by value: a state timeline, or a heatmap by bucket."""
    heat = panel["type"] == "heatmap"
    if heat:
        # Buckets hold all below them.
        series = sorted(series, key=lambda one: float(one[0].replace("+Inf", "inf")), reverse=True)
        rates = [dict(points) for _, points in series] + [{}]
        series = [(name, [(t, v - rates[at + 1].get(t, 0.0)) for t, v in points]) for at, (name, points) in enumerate(series)]
    most = max([v for _, points in series for _, v in points] + [1e-9])
    tall, left, body = max(12.0, height / len(series)), 250.0 if not heat else 62.0, []
    step = (source.end - source.start) / 200
    for at, (name, points) in enumerate(series):
        body.append(f'<text x="{left - 6}" y="{at * tall + tall / 2 + 4:.1f}" text-anchor="end">{escape(name)}</text>')
        for t, v in points:
            x, wide = (
                left + (width - left) * (t - source.start) / (source.end - source.start),
                (width - left) * step / (source.end - source.start),
            )
            shade = f"rgba(255,152,48,{max(0.0, v / most):.2f})" if heat else color(v, panel["fieldConfig"]["defaults"])
            body.append(f'<rect x="{x:.1f}" y="{at * tall:.1f}" width="{wide + 0.5:.1f}" height="{tall - 2:.1f}" fill="{shade}"/>')
    return f'<svg width="{width}" height="{height}">{"".join(body)}</svg>'


def drawn(panel: dict[str, Any], source: Source) -> str:
    """One panel in its place."""
    at = panel["gridPos"]
    width, height = at["w"] * CELL - 8, at["h"] * ROW - 8
    box = f"left:{at['x'] * CELL + 4}px;top:{at['y'] * ROW + 4}px;width:{width}px;height:{height}px"
    if panel["type"] == "row":
        return f'<div class="r" style="{box}">{escape(panel["title"])}</div>'
    series = []
    for target in panel["targets"]:
        for labels, points in source.ask(target["expr"]):
            name = re.sub(r"\{\{(\w+)\}\}", lambda found, of=labels: of.get(found[1], ""), target.get("legendFormat") or "")
            series += [(name.strip(), points)] if points else []
    if not series:
        inside = '<div class="none">No data</div>'
    elif panel["type"] == "stat":
        inside = stat(panel, series)
    elif panel["type"] == "timeseries":
        inside = lines(panel, series, source, width - 18, height - 58)
    else:
        inside = strips(panel, series, source, width - 18, height - 40)
    return f'<div class="p" style="{box}"><h4>{escape(panel["title"])}</h4>{inside}</div>'


@click.command()
@click.argument("url")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--minutes", type=float, default=10.0, show_default=True)
def main(url: str, out: Path, minutes: float) -> None:
    """Draw the dashboard from a running Prometheus."""
    content, source = json.loads(DASHBOARD.read_text()), Source(url.rstrip("/"), minutes)
    panels = "".join(drawn(panel, source) for panel in content["panels"])
    tall = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in content["panels"]) * ROW + 8
    head = f'<!doctype html><meta charset="utf-8"><title>{escape(content["title"])}</title><style>{STYLE}</style>'
    out.write_text(f'{head}<body style="width:{24 * CELL}px;height:{tall}px">{panels}</body>')


if __name__ == "__main__":
    main()
