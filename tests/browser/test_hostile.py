"""What a model writes is never more than text, whatever it writes."""

import json
import time

import server as serving

# Each tries to run a script, load something, or leave the page; by text, HTML, links, code, math.
HOSTILE = [
    "<script>window.hit=1</script>",
    "<img src=x onerror='window.hit=1'>",
    "text <svg onload=window.hit=1> text",
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<details open ontoggle=window.hit=1>x</details>",
    "<a href='javascript:window.hit=1'>x</a>",
    "[x](javascript:window.hit=1)",
    "[x](JaVaScRiPt&colon;window.hit=1)",
    "[x](&#106;avascript:window.hit=1)",
    "[x](java&#x09;script:window.hit=1)",
    "[x](java\tscript:window.hit=1)",
    "[x](data:text/html,<script>opener.hit=1</script>)",
    "[x](vbscript:msgbox)",
    "[x](//evil.example/)",
    "<javascript:window.hit=1>",
    "[x]: javascript:window.hit=1\n\n[x]",
    "![x](http://evil.example/track.png)",
    "![x](x\" onerror=\"window.hit=1)",
    "![\"onerror=window.hit=1 x=\"](http://evil.example/y)",
    "[a](http://evil.example/\"onmouseover=\"window.hit=1)",
    "<style>body{display:none}</style>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'>",
    "<base href=http://evil.example/>",
    "<form action=http://evil.example><input name=x></form>",
    "<math><mtext></table><mglyph><style><img src onerror=window.hit=1>",
    "<noscript><p title=\"</noscript><img src=x onerror=window.hit=1>\">",
    "```html\n<script>window.hit=1</script>\n```",
    "```\"onload=window.hit=1\nx\n```",
    "```html</span><img/src/onerror=window.hit=1>\n<img src=x onerror=window.hit=1>\n```",
    "`<img src=x onerror=window.hit=1>`",
    "$\\href{javascript:window.hit=1}{x}$",
    "$\\url{javascript:window.hit=1}$",
    "$\\includegraphics{http://evil.example/x.png}$",
    "$\\htmlStyle{background:url(http://evil.example)}{x}$ $\\htmlData{x=y}{z}$",
    "$<img src=x onerror=window.hit=1>$ and $$</math><script>window.hit=1</script>$$",
    "| <img src=x onerror=window.hit=1> |\n|---|\n| <script>window.hit=1</script> |",
    "- [ ] <input autofocus onfocus=window.hit=1>",
    "> <video><source onerror=window.hit=1></video>",
    "&lt;img src=x onerror=window.hit=1&gt;",
    "<!--<img src=--><img src=x onerror=window.hit=1>",
    "<![CDATA[<img src=x onerror=window.hit=1>]]>",
    "<a id=messages></a><form name=getElementById>", "<input id=composer><p id=spoken>",
    "__proto__ constructor\n\n```__proto__\nx\n```\n\n```constructor\nx\n```",
    "\u202egnp.exe \u0000 \ufffe",
]
ALLOWED = {"A", "ARTICLE", "BLOCKQUOTE", "BR", "BUTTON", "CODE", "DEL", "DETAILS", "DIV", "EM",
           "FIGCAPTION", "FIGURE", "FOOTER", "H3", "H4", "H5", "H6", "HEADER", "HR", "INPUT", "LI",
           "OL", "P", "PRE", "SPAN", "STRONG", "SUMMARY", "TABLE", "TBODY", "TD", "TH", "THEAD",
           "TR", "UL"}
LOOK = """async () => {
  await new Promise(done => setTimeout(done, 300));
  const all = [...document.querySelectorAll('#messages *')];
  return {
    hit: window.hit ?? null,
    tags: [...new Set(all.filter(one => !one.closest('.katex')).map(one => one.tagName))],
    handlers: all.flatMap(one => one.getAttributeNames()).filter(name => name.startsWith('on')),
    links: all.flatMap(one => ['href', 'src', 'action', 'srcdoc', 'xlink:href']
      .map(name => one.getAttribute(name)).filter(Boolean)),
    place: location.pathname, bodies: document.querySelectorAll('#composer').length,
  };
}"""


def keep(page, messages, title="kept"):
    """Puts a conversation into the browser's store and opens it."""
    page.evaluate("""async ([messages, title]) => {
      const {Conversations} = await import('/ui/store.js');
      const store = await Conversations.open();
      await store.put({id: 'kept', title, system: '', updated: Date.now(), messages});
    }""", [messages, title])
    page.goto(page.url.split("#")[0] + "#chat/kept")
    page.reload()
    page.wait_for_selector("body[data-ready]")


def check(page, corpus):
    seen = page.evaluate(LOOK)
    assert seen["hit"] is None
    assert set(seen["tags"]) <= ALLOWED, set(seen["tags"]) - ALLOWED
    assert seen["handlers"] == []
    for link in seen["links"]:
        assert link.startswith(("http:", "https:", "mailto:")), link
    assert (seen["place"], seen["bodies"]) == ("/", 1)
    assert page.locator("article.assistant").count() == corpus


def test_hostile_answers_streamed(desk):
    page = desk.open()
    for i, text in enumerate(HOSTILE):
        desk.answer(text, reasoning=text, pieces=5)
        answer = desk.ask(text, i + 1)
        answer.locator("summary").click()
    check(page, len(HOSTILE))


def test_hostile_history_and_titles(desk):
    page = desk.open()
    messages = [{"role": role, "content": text, "thinking": text, "model": text, "note": text}
                for text in HOSTILE for role in ("user", "assistant")]
    keep(page, messages, "<img src=x onerror=window.hit=1>")
    for article in page.locator("article.assistant").all():
        article.scroll_into_view_if_needed()
    check(page, len(HOSTILE))
    assert page.locator("#conversations .title").inner_text() == "<img src=x onerror=window.hit=1>"


def test_hostile_figures(desk_of):
    """The same for what /metrics names: routes, tiers, models."""
    desk = desk_of()
    text = "<img src=x onerror=window.hit=1>"
    name = text.replace("\\", "\\\\").replace('"', '\\"')
    desk.page.route("**/metrics", lambda route: route.fulfill(body="\n".join([
        f'galley_queue_requests{{tier="{name}"}} 1', f'galley_upstream_x{{name="{name}"}} 1',
        f'galley_admission_total{{tier="{name}",outcome="refused_{name}"}} 1',
        f'galley_http_requests_total{{route="{name}",code="200"}} 3', "nonsense{ 1", ""])))
    page = desk.open("/#operate")
    page.wait_for_selector("#tiers td")
    assert page.locator("#tiers td").first.inner_text() == text
    assert page.evaluate("() => window.hit ?? null") is None
    assert page.locator("#view-operate img").count() == 0


COSTLY = [
    "[" * 3000, "*a **b " * 1500, ">" * 3000 + "x", "- " * 3000, "`" * 5001, "$" * 3000,
    "| a " * 500 + "\n" + "|---" * 500 + "\n" + ("| b " * 500 + "\n") * 4, "\\(" * 2000,
    "<a " * 3000, "![](" * 2000, "$\\def\\a{\\a\\a}\\a$", "$" + "\\frac{1}{" * 400 + "$",
    "$x" + "^{x" * 900 + "}" * 900 + "$", "_" * 20_000, "a\n" * 5000, "&#" + "9" * 5000 + ";",
]


def test_costly_answers_do_not_stall(desk):
    page = desk.open()
    for text in COSTLY:
        desk.answer(text)
        began = time.monotonic()
        desk.ask("x")
        page.evaluate("() => new Promise(done => setTimeout(done, 50))")
        assert time.monotonic() - began < 4 * serving.PATIENCE, text[:40]
        page.keyboard.press("Alt+n")


def test_a_thousand_messages_stay_smooth(desk):
    page = desk.open()
    body = "Some **bold** text with $x^2$ and `code`.\n\n- one\n- two\n\n```python\nprint(1)\n```\n"
    keep(page, [{"role": "user" if i % 2 == 0 else "assistant", "content": f"{i} {body * 3}"}
                for i in range(1000)])
    assert page.locator("article").count() == 1000
    opened = page.evaluate("""async () => {
      const began = performance.now();
      document.querySelector('#conversations .title').click();
      while (document.querySelectorAll('article').length !== 1000)
        await new Promise(done => setTimeout(done, 5));
      await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
      return performance.now() - began;
    }""")
    # The longest any one frame takes while it is scrolled through and an answer is written.
    slowest = page.evaluate("""async () => {
      const box = document.querySelector('#messages');
      let slowest = 0;
      let last = performance.now();
      for (let i = 0; i < 60; i++) {
        box.scrollTop = box.scrollHeight * (1 - i / 60);
        await new Promise(requestAnimationFrame);
        slowest = Math.max(slowest, performance.now() - last);
        last = performance.now();
      }
      return slowest;
    }""")
    desk.answer("An answer in words. " * 300, pieces=300)
    began = time.monotonic()
    desk.ask("And now?", 501)
    took = time.monotonic() - began
    print(json.dumps({"opened_ms": opened, "slowest_frame_ms": slowest, "answer_s": took}))
    assert opened < 1500 * serving.PATIENCE
    assert slowest < 500 * serving.PATIENCE
    assert took < 3 * serving.PATIENCE
