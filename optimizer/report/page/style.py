"""The report's style sheet: light and dark by the reader's system, 400 px and up, paper."""

CSS = """
:root{--page:#fff;--ink:#1f2933;--dim:#5f6b7a;--line:#d7dde4;--soft:#f3f5f8;--accent:#2f6db3;--mark:#fff4e0;color-scheme:light}
@media screen and (prefers-color-scheme:dark){
:root{--page:#10151a;--ink:#e6eaf0;--dim:#9aa7b6;--line:#303a45;--soft:#1b2229;--accent:#7fb2ea;--mark:#33291a;color-scheme:dark}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,'Segoe UI','Noto Sans','DejaVu Sans',sans-serif}
main{max-width:1180px;margin:0 auto;padding:16px 20px 48px}
.skip{position:absolute;left:-999px}.skip:focus{left:8px;top:8px;background:var(--page);padding:6px 10px;z-index:9}
h1{font-size:1.5rem;line-height:1.25;margin:.4em 0}h2{font-size:1.15rem;margin:2.2em 0 .3em}
p{margin:.3em 0 .8em;max-width:75ch}.dim{color:var(--dim)}.says{color:var(--dim);font-size:.92rem}
nav ul{display:flex;flex-wrap:wrap;gap:4px 16px;padding:0;margin:10px 0 0;list-style:none;font-size:.92rem}
a{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:18px 0}
.cards div{background:var(--soft);border:1px solid var(--line);border-radius:8px;padding:10px 12px}
.cards dt{color:var(--dim);font-size:.85rem}.cards dd{margin:2px 0 0;font-size:1.2rem;font-weight:600}
.cards{padding:0}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:0 28px}
.two>section,.two>section>*{min-width:0}
.chart{width:100%;height:400px;min-width:0}
h3{font-size:.95rem;margin:.8em 0 0}
.multiples{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,300px),1fr));gap:8px 22px}
.multiples>div{min-width:0}.multiples .chart{height:270px}
.scroll{overflow-x:auto;max-width:100%}
.scroll>svg{display:block;width:100%;min-width:600px;height:auto}
table{border-collapse:collapse;font-size:.9rem;width:100%}
th,td{padding:5px 9px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap;vertical-align:top}
th:first-child,td:first-child,td.text,th.text{text-align:left}td.wrap{white-space:normal;min-width:22em}
thead th{position:sticky;top:0;background:var(--page)}
thead button{all:unset;cursor:pointer;font-weight:600}thead button:focus-visible{outline:3px solid var(--accent)}
thead button::after{content:' \\2195';color:var(--dim)}
th[aria-sort=ascending] button::after{content:' \\2191'}th[aria-sort=descending] button::after{content:' \\2193'}
tr.chosen td{background:var(--mark)}tr.unfit td{color:var(--dim)}
.tall{max-height:520px;overflow:auto}
details{margin:6px 0}summary{cursor:pointer;color:var(--accent);font-size:.92rem}
dl.facts{display:grid;grid-template-columns:minmax(110px,max-content) 1fr;gap:3px 16px;font-size:.92rem}
dl.facts dt{color:var(--dim)}dl.facts dd{margin:0;overflow-wrap:anywhere}
#tip{position:fixed;z-index:5;max-width:min(360px,92vw);background:var(--ink);color:var(--page);padding:8px 11px;
border-radius:6px;font-size:.85rem;white-space:pre-line;pointer-events:none;display:none}
.tp-topology g[data-tip]:focus{outline:none}.tp-topology g[data-tip]:focus>rect{stroke-width:3;stroke:var(--ink)}
@media (max-width:560px){main{padding:10px 12px 40px}h1{font-size:1.2rem}.chart{height:360px}
dl.facts{grid-template-columns:1fr}dl.facts dd{margin-bottom:6px}}
@media print{nav,.skip,details>summary,#tip{display:none}body{font-size:11px}main{max-width:none;padding:0}
.tall{max-height:none;overflow:visible}section{break-inside:avoid-page}thead th{position:static}
.scroll{overflow:visible}.scroll>svg{min-width:0}thead button::after{content:''}.chart{height:320px;max-width:680px}
th,td{padding:2px 4px;font-size:8.5px}td.wrap{min-width:0}}
"""
