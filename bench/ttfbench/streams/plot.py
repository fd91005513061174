"""The plot of how it grows, as SVG, without anything to install."""

import math

WIDTH, HEIGHT = 300, 220
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 34, 40
COLOURS = {"ours": "#1f6feb", "kafka_streams": "#d1582c"}
NAMES = {"ours": "ttf processor", "kafka_streams": "Kafka Streams"}
PANELS = [
    ("records per CPU second", "records_per_cpu_second", 1.0),
    ("resident memory, MB", "rss_bytes", 1e-6),
    ("ready after kill -9, s", "restart_seconds", 1.0),
]


def growth(rows: list[dict]) -> str:
    """Three panels over the number of journeys, for 12 partitions and one worker."""
    chosen = [row for row in rows if row["partitions"] == 12 and row["workers"] == 1]
    panels = [panel(index, title, key, scale, chosen) for index, (title, key, scale) in enumerate(PANELS)]
    legend = "".join(
        f'<circle cx="{20 + 130 * place}" cy="{HEIGHT + 14}" r="4" fill="{COLOURS[name]}"/>'
        f'<text x="{30 + 130 * place}" y="{HEIGHT + 18}">{NAMES[name]}</text>'
        for place, name in enumerate(COLOURS)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * len(PANELS)} {HEIGHT + 30}" '
        'font-family="sans-serif" font-size="11" fill="#333">\n<rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(panels)
        + f"\n{legend}\n</svg>\n"
    )


def panel(index: int, title: str, key: str, scale: float, rows: list[dict]) -> str:
    journeys = sorted({row["journeys"] for row in rows})
    low, high = math.log10(journeys[0]) - 0.2, math.log10(journeys[-1]) + 0.2
    top = nice(max(row[key] for row in rows) * scale)

    def place(row_journeys: float, value: float) -> tuple[float, float]:
        across = (math.log10(row_journeys) - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)

    parts = [f'<g transform="translate({index * WIDTH} 0)"><text x="{LEFT}" y="18" font-weight="bold">{title}</text>']
    for step in range(5):
        value = top * step / 4
        _, y = place(journeys[0], value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.4g}</text>')
    for number in journeys:
        x, _ = place(number, 0)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{short(number)}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">journeys</text>')
    for name, colour in COLOURS.items():
        points = [place(row["journeys"], row[key] * scale) for row in rows if row["program"] == name]
        line = "L".join(f"{x:.1f} {y:.1f}" for x, y in sorted(points))
        if points:
            parts.append(f'<path d="M{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points]
    return "".join(parts) + "</g>"


def nice(value: float) -> float:
    """The next of 1, 2, 4, 5 or 8 times a power of ten."""
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value)


def short(number: int) -> str:
    return f"{number // 1_000_000} M" if number >= 1_000_000 else f"{number // 1_000} k"
