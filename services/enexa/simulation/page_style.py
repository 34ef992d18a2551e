"""The style of a study's page: quiet paper, one accent, colours that the colour-blind can tell, light and dark."""

STYLE = """
:root{--paper:#fbfbf9;--card:#fff;--ink:#1d2430;--soft:#5b6675;--line:#e2e5ea;--reactive:#7d8794;--smart:#1f66d1;
--lp:#8a4fd0;--perfect:#12806a;--possible:#c6d6ee;--price:#a86a00;--ev:#d9dee6;--evline:#98a3b2;--pv:#e0a800;
--gridkw:#1f66d1;--battery:#12806a;--energy:#1f66d1;--fees:#7fa8e0;--wear:#12806a;--unserved:#c2410c;--export:#e0a800;
--left:#8a4fd0}
@media (prefers-color-scheme:dark){:root{--paper:#12161c;--card:#1a2029;--ink:#e6eaf0;--soft:#9aa6b5;--line:#2c3542;
--reactive:#97a2b0;--smart:#6ea5f7;--lp:#b58cf0;--perfect:#3fc3a4;--possible:#2f4465;--price:#e5a93c;--ev:#2b3441;
--evline:#5d6b7d;--pv:#f0c64a;--gridkw:#6ea5f7;--battery:#3fc3a4;--energy:#6ea5f7;--fees:#3f669c;--wear:#3fc3a4;
--unserved:#f27a4a;--export:#f0c64a;--left:#b58cf0}}
*{box-sizing:border-box}
html{color-scheme:light dark;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1080px;margin:0 auto;padding:32px 20px 64px}
h1{font-size:clamp(1.4rem,4vw,2rem);line-height:1.2;margin:0 0 4px;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:0 0 8px}h3{font-size:1rem;margin:0}
header p,section>p{color:var(--soft);margin:0 0 12px}
.headline{font-size:clamp(1.15rem,3.2vw,1.6rem);line-height:1.35;margin:24px 0;max-width:32em}
.headline b{color:var(--smart)}
.tiles{list-style:none;margin:0 0 24px;padding:0;display:grid;background:var(--card);
border:1px solid var(--line);border-radius:10px;overflow:hidden;
grid-template-columns:repeat(auto-fit,minmax(140px,1fr))}
.tiles li{margin:0;box-shadow:0 0 0 .5px var(--line);padding:14px 16px}
.tiles b{display:block;font-size:1.25rem;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:.85rem}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:20px;margin:0 0 20px}
.plot{margin:0 0 34px}
.plot figcaption{font-size:.85rem;margin-bottom:8px;display:flex;flex-wrap:wrap;gap:2px 14px;align-items:baseline}
.plot figcaption i,th i{color:var(--soft);font-style:normal}
.box{position:relative;height:220px;margin:0 6px 0 40px}.short .box{height:120px}.tall .box{height:240px}
.box svg{position:absolute;inset:0;width:100%;height:100%;overflow:visible}
.box .y,.box .x{position:absolute;font-size:12px;line-height:1;color:var(--soft);font-variant-numeric:tabular-nums;
white-space:nowrap}
.box .y{right:100%;margin-right:8px;transform:translateY(-50%)}
.box .x{top:100%;margin-top:7px;transform:translateX(-50%)}
svg polyline,svg line{fill:none;vector-effect:non-scaling-stroke;stroke-width:1.75}
svg polygon{stroke:none;opacity:.18}
svg .grid{stroke:var(--line);stroke-width:1}svg .zero{stroke:var(--soft);stroke-width:1}
svg .dashed{stroke-dasharray:5 4}
svg .hover{fill:transparent}svg .hover:hover,svg a:hover .hover{fill:var(--soft);opacity:.14}
polyline.price{stroke:var(--price)}polygon.price{fill:var(--price)}
polyline.ev{stroke:var(--evline);stroke-width:1}polygon.ev{fill:var(--ev);opacity:1}
polyline.pv{stroke:var(--pv)}polyline.grid-kw{stroke:var(--gridkw)}polyline.battery{stroke:var(--battery)}
polyline.reactive{stroke:var(--reactive)}polyline.smart{stroke:var(--smart)}polyline.lp{stroke:var(--lp)}
polyline.perfect{stroke:var(--perfect)}
rect.possible{fill:var(--possible)}rect.smart{fill:var(--smart)}
.key{display:inline-flex;align-items:center;gap:6px;font-size:.85rem;font-weight:400}
.key::before{content:"";width:12px;height:12px;border-radius:3px;background:var(--c,var(--soft));flex:none}
.key.dashed::before{height:0;border-radius:0;background:none;border-top:2px dashed var(--c)}
.price{--c:var(--price)}.ev{--c:var(--evline)}.pv{--c:var(--pv)}.grid-kw{--c:var(--gridkw)}.battery{--c:var(--battery)}
.reactive{--c:var(--reactive)}.smart,.captured{--c:var(--smart)}.lp{--c:var(--lp)}.perfect{--c:var(--perfect)}
.possible{--c:var(--possible)}.energy{--c:var(--energy)}.fees{--c:var(--fees)}.wear{--c:var(--wear)}
.unserved{--c:var(--unserved)}.export{--c:var(--export)}.left{--c:var(--left)}
.cause-0{--c:var(--price)}.cause-1{--c:var(--lp)}.cause-2{--c:var(--reactive)}
.keys{display:flex;flex-wrap:wrap;gap:2px 16px}
.day{display:none;scroll-margin-top:16px}
.day:target{display:block}.days:not(:has(.day:target)) .day.chosen{display:block}
.day nav{float:right;display:flex;gap:16px;font-size:.85rem;margin-top:-1.6em}
.day p{color:var(--soft);font-size:.9rem;margin:2px 0 18px}
a{color:var(--smart)}
.split>div{display:grid;grid-template-columns:1fr auto;gap:2px 12px;margin-bottom:14px}
.split b{font-variant-numeric:tabular-nums}
.bar{grid-column:1/-1;position:relative;height:26px;background:var(--paper);border-radius:4px}
.bar i{position:absolute;top:0;bottom:0;background:var(--c);box-shadow:inset -1px 0 0 var(--card)}
.bar u{position:absolute;top:-4px;bottom:-4px;border-left:2px solid var(--ink)}
.whole{display:flex;height:26px;border-radius:4px;overflow:hidden;background:var(--paper);margin-bottom:10px}
.whole i{background:var(--c);box-shadow:inset -1px 0 0 var(--card)}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:.92rem}
th{text-align:left;font-weight:400}thead th{text-align:right;font-weight:600;vertical-align:bottom}
td{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
th,td{padding:5px 10px 5px 0;border-bottom:1px solid var(--line)}
.group th{font-weight:600;padding-top:16px}
ul{margin:0;padding-left:1.2em}li{margin:4px 0}code{font-size:.85em;overflow-wrap:anywhere}
@media (max-width:560px){main{padding:20px 12px 40px}section{padding:16px 12px}.box .minor{display:none}
.box{height:180px;margin-left:34px}.day nav{float:none;margin:4px 0 0}table{font-size:.82rem}th,td{padding-right:8px}}
@media print{.day{display:block;break-inside:avoid}.day nav{display:none}section{break-inside:avoid-page}}
"""
