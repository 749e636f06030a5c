"""The view for operators, and the page as such: languages, colours, keyboard, phones."""

import re
import threading

# Of the accessibility tree: whatever can be operated has a name.
UNNAMED = """() => [...document.querySelectorAll('button, input, select, textarea, [role=region]')]
  .filter(one => one.checkVisibility())
  .filter(one => !(one.textContent.trim() || one.getAttribute('aria-label') ||
                   one.labels?.length > 0))
  .map(one => one.outerHTML)"""
# Text against what is behind it, WCAG 2.1's formula.
CONTRAST = """() => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(Number).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = one => {
    for (; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  return [...document.querySelectorAll('body *')]
    .filter(one => one.checkVisibility({opacityProperty: true}) && !one.closest('.katex') &&
      [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim()))
    .map(one => {
      const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
      return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), one.textContent.slice(0, 40)];
    })
    .filter(([ratio]) => ratio < 4.5);
}"""


def test_figures_follow_the_work(desk, server, shot):
    page = desk.open("/#operate")
    page.wait_for_selector("[data-tile=running]")
    page.wait_for_selector("#charts canvas")
    body = {"messages": [{"role": "user", "content": "Go on."}], "ignore_eos": True,
            "max_tokens": 1000}
    seen = threading.Event()  # A fast machine would be done before the page looks.

    def work():
        while not seen.is_set():
            server.post("/v1/chat/completions", body)

    working = [threading.Thread(target=work) for _ in range(3)]
    for one in working:
        one.start()
    page.wait_for_function("() => Number(document.querySelector('[data-tile=running] dd')"
                           ".textContent) >= 1")
    page.wait_for_function("() => parseInt(document.querySelector('[data-tile=generation_rate] dd')"
                           ".textContent.replace(/,/g, '')) > 10")
    seen.set()
    for one in working:
        one.join()
    page.wait_for_function("() => /\\d ms|\\d s/.test(document.querySelector('[data-tile=ttft] dd')"
                           ".textContent)")
    rows = page.locator("#tiers tbody tr").all_inner_texts()
    assert len(rows) == 1 and rows[0].startswith("default"), rows
    page.locator("#answers td", has_text="/v1/chat/completions").first.wait_for()
    assert page.locator("#charts canvas").count() == 6
    label = page.locator("#charts canvas").first.get_attribute("aria-label")
    assert re.match(r"Tokens/s written: now .*, highest .* in the last 1 h", label), label
    shot(page, "operate")


def test_a_server_that_is_gone_is_said(desk):
    page = desk.open("/#operate")
    page.wait_for_selector("[data-tile=running]")
    page.route("**/metrics", lambda route: route.abort())
    page.wait_for_selector("#stale:visible")
    assert "No figures since" in page.locator("#stale").inner_text()
    desk.wrong.clear()  # The browser's own lines about it.


def test_chinese(desk_of, shot):
    page = desk_of(locale="zh-CN").open()
    assert page.locator("html").get_attribute("lang") == "zh-Hans"
    assert page.locator("#send").inner_text() == "发送"
    page.click("#settings-open")
    shot(page, "settings-zh")
    page.select_option("#language", "en")
    page.click("#settings-close")
    assert page.locator("#send").inner_text() == "Send"
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.locator("#send").inner_text() == "Send"


def test_both_languages_say_everything(desk):
    page = desk.open()
    counts = page.evaluate("""async () => {
      const {t, speak, languages} = await import('/ui/words.js');
      const source = await (await fetch('/ui/words.js')).text();
      const keys = [...source.split('zh: {')[0].matchAll(/^    (\\w+):/gm)].map(one => one[1]);
      return languages.map(language => { speak(language); return keys.map(key => t(key)).length; });
    }""")
    assert counts[0] == counts[1] > 80


def test_composing_characters_does_not_send(desk):
    page = desk.open()
    page.fill("#composer", "ni")
    page.evaluate("""() => document.querySelector('#composer').dispatchEvent(
      new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))""")
    assert page.locator("article").count() == 0


def test_light_and_dark_can_be_read(desk_of, shot):
    for scheme in ("light", "dark"):
        desk = desk_of(color_scheme=scheme)
        page = desk.open()
        desk.answer("Text, [link](https://example.com), `code`\n\n> quote\n\n```python\n"
                    "def f(): return 'x' + 1  # why\n```\n| a |\n|---|\n| b |", reasoning="hm")
        desk.ask("Hello").locator("summary").click()
        page.wait_for_selector(".hljs-keyword")
        assert page.evaluate(CONTRAST) == []
        shot(page, f"chat-{scheme}")
        page.click("#tab-operate")
        page.wait_for_selector("#charts canvas")
        assert page.evaluate(CONTRAST) == []
        page.click("#settings-open")
        assert page.evaluate(CONTRAST) == []


def test_keyboard_alone(desk):
    page = desk.open()
    desk.answer("Good.")
    assert page.evaluate("() => document.activeElement.id") == "composer"
    page.keyboard.type("Without a mouse")
    page.keyboard.press("Enter")
    desk.wait_for_answer()
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id || "
                                  "document.activeElement.textContent.trim()"))
    assert {"tab-chat", "tab-operate", "model", "settings-open", "new", "Without a mouse", "Copy",
            "Retry", "Edit", "composer", "send"} <= reached, reached
    page.focus("#settings-open")
    page.keyboard.press("Enter")
    assert page.locator("#settings").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#settings").is_hidden()
    assert page.evaluate("() => document.activeElement.id") == "settings-open", "focus comes back"


def test_everything_has_a_name(desk):
    page = desk.open()
    desk.answer("Good.", reasoning="hm")
    desk.ask("Hello")
    assert page.evaluate(UNNAMED) == []
    assert page.locator("#spoken").inner_text() == "The answer is complete."
    page.click("#settings-open")
    assert page.evaluate(UNNAMED) == []
    page.keyboard.press("Escape")
    page.click("#tab-operate")
    page.wait_for_selector("#charts canvas")
    assert page.evaluate(UNNAMED) == []


def test_on_a_phone(desk_of, shot):
    desk = desk_of(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    page = desk.open()
    desk.answer("A wide table:\n\n| " + "column | " * 12 + "\n|" + "---|" * 12 + "\n| "
                + "cell | " * 12 + "\n\n```\n" + "long line " * 30 + "\n```\n\n$$"
                + "x + " * 60 + "y$$\n\n" + "word" * 60)
    desk.ask("Hello there")
    wide = "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(wide)
    shot(page, "phone-chat")
    assert not page.locator("#new").is_visible()
    page.tap("#menu")
    page.wait_for_timeout(50)
    shot(page, "phone-drawer")
    page.tap("#new")
    assert page.locator("article").count() == 0 and not page.locator("#new").is_visible()
    page.tap("#tab-operate")
    page.wait_for_selector("#charts canvas")
    assert not page.evaluate(wide)
    shot(page, "phone-operate")
