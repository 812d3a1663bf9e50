# Copyright: the croft contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pages have in common: one file that needs nothing else, for a phone, a desk, paper and the dark; no scripts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--page:#fff;--box:#f6f8fa;--used:#2f6fdb;
  --kept:#9aa4af;--free:#e4e9ee;--bad:#b3261e;--warn:#8a5a00;--good:#1a7f37;--note:#57606a}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9aa4af;--line:#3b434c;--page:#0f1318;--box:#171c22;
  --used:#6ea2f5;--kept:#697480;--free:#2b323a;--bad:#ff8a80;--warn:#e3b341;--good:#57c773;--note:#9aa4af}}
*{box-sizing:border-box}
body{margin:0;font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page)}
main{max-width:70rem;margin:0 auto;padding:1rem}
h1{font-size:1.6rem;margin:.5rem 0}
h2{font-size:1.2rem;margin:2rem 0 .6rem}
p{margin:.3rem 0}
.soft{color:var(--soft)}
.deny,.refused{color:var(--bad)}
.warn{color:var(--warn)}
.admitted{color:var(--good)}
.waived,.info{color:var(--note)}
.figures{display:flex;flex-wrap:wrap;gap:.5rem;padding:0;margin:1rem 0;list-style:none}
.figures li{background:var(--box);border:1px solid var(--line);border-radius:.4rem;padding:.4rem .8rem}
.figures b{font-size:1.3rem;display:block;line-height:1.2}
.hosts{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr))}
.host,.finding{background:var(--box);border:1px solid var(--line);border-radius:.4rem;padding:.6rem .8rem;
  overflow-wrap:anywhere}
.host h3{font-size:1rem;margin:0}
.bar{display:flex;height:.7rem;background:var(--free);border-radius:.2rem;overflow:hidden}
.bar i{display:block;background:var(--used)}
.bar i.kept{background:var(--kept)}
.bar.over{outline:2px solid var(--bad)}
.row{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 1rem;font-size:.85rem;margin-top:.5rem}
.row span{white-space:nowrap}
.host p{font-size:.85rem;margin-top:.5rem}
.finding{margin:.5rem 0;border-left:.3rem solid currentColor}
.finding *{color:var(--ink)}
.finding .tag{color:inherit;font-weight:600}
summary{cursor:pointer;font-weight:600;margin:1rem 0 .3rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.key i{display:inline-block;width:.8rem;height:.8rem;border-radius:.15rem;margin:0 .3rem 0 .8rem;
  vertical-align:-.05rem}
@media(max-width:40rem){
  thead{display:none}
  table,tbody,tr,td{display:block}
  tr{background:var(--box);border:1px solid var(--line);border-radius:.4rem;margin:.5rem 0;padding:.4rem .8rem}
  td,td.n{border:0;padding:.1rem 0;text-align:left;overflow-wrap:anywhere}
  td::before{content:attr(data-label) ": ";color:var(--soft)}
  td:first-child{font-weight:600}
  td:first-child::before{font-weight:400}
}
@media print{.host,.finding{break-inside:avoid}}
"""


def page(title: str, sections: Iterable[str], style: str = "") -> str:
    """The whole page; empty sections are left out. ``style``: what this page needs besides."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(section for section in sections if section)
        + "\n</main>\n</body>\n</html>\n"
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """A table of cells that are HTML already; on a phone each row is a card, its cells named by the head."""
    kinds = [' class="n"' if i in numbers else "" for i in range(len(heads))]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(heads, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{kind} data-label="{escape(name)}">{cell}</td>'
            for name, kind, cell in zip(heads, kinds, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
