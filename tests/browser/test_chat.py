"""What a person does in the chat."""

import contextlib
import http.client
import json
import re
import threading

import server as serving
from conftest import sse

RICH = """# Title

Some **bold**, *slanted*, `code` and ~~gone~~ words; 3 &lt; 4 and AT&T. A [link](https://example.com/?a=1&b=2).

| left | right |
|:-----|------:|
| a    | 1     |

1. first
2. second
   - [x] done

> quoted

Inline $e^{i\\pi} + 1 = 0$ costs $5 or $6, and

$$\\int_0^1 x^2\\,dx = \\frac{1}{3}$$

```python
def f(x):
    return "<b>" + x  # a comment
```
"""


def test_a_real_answer_streams_and_is_kept(desk, shot):
    page = desk.open()
    answer = desk.ask("What is 17 + 25? Answer briefly.")
    assert answer.locator(".body").last.inner_text().strip() != ""
    assert re.search(r"\d+ tokens", answer.locator(".meta").inner_text())
    shot(page, "chat-real")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.locator("article").count() == 2, "the conversation is still there"
    assert page.locator("#conversations li[aria-current]").count() == 1


def test_markdown_code_tables_and_mathematics(desk, shot):
    page = desk.open()
    desk.answer(RICH, pieces=20)
    body = desk.ask("Show everything.").locator(".body").last
    page.wait_for_selector(".katex-display")
    page.wait_for_selector(".hljs-keyword")
    assert body.locator("h3").inner_text() == "Title"
    assert body.locator("strong").inner_text() == "bold"
    assert "3 < 4 and AT&T" in body.inner_text()
    assert body.locator("a").get_attribute("href") == "https://example.com/?a=1&b=2"
    assert body.locator("td.to-right").inner_text() == "1"
    assert body.locator("input[type=checkbox]").is_checked()
    assert body.locator("blockquote").inner_text().strip() == "quoted"
    assert body.locator(".math").count() == 2, "a price is no formula"
    assert "costs $5 or $6" in body.inner_text()
    assert "<b>" in body.locator("pre").inner_text()
    assert body.locator(".hljs-comment").inner_text() == "# a comment"
    shot(page, "chat-rich")


def test_a_thought_is_folded_and_counted(desk):
    page = desk.open()
    desk.answer("The answer.", reasoning="Let me *think*.")
    answer = desk.ask("Think.")
    fold = answer.locator("details.thought")
    assert re.search(r"Thought for \d+\.\d s · 3 tokens", fold.locator("summary").inner_text())
    assert fold.get_attribute("open") is None
    fold.locator("summary").click()
    assert page.locator(".thought em").inner_text() == "think"
    assert desk.ask("And now?", 2)
    assert [one["role"] for one in desk.asked[-1]["messages"]] == ["user", "assistant", "user"]
    assert "think" not in desk.asked[-1]["messages"][1]["content"], "thoughts are not sent back"


def test_stop_ends_the_work_and_keeps_what_came(desk, server):
    page = desk.open()

    def without_end(route):
        body = route.request.post_data_json | {"ignore_eos": True, "max_tokens": 1900}
        route.continue_(post_data=json.dumps(body))

    page.route("**/v1/chat/completions", without_end)
    desk.say("Count without end.")
    page.wait_for_function("() => /[1-9]\\d* tokens/.test(document.querySelector('article.assistant')"
                           "?.textContent)")
    page.keyboard.press("Escape")
    answer = desk.wait_for_answer()
    assert answer.locator(".note").inner_text() == "Stopped."
    assert page.locator("#send").is_visible()
    server.wait_idle(within_s=2)
    written = answer.inner_text()
    page.reload()
    page.wait_for_selector("body[data-ready]")
    assert page.locator("article.assistant").last.inner_text() == written


def test_edit_and_retry(desk):
    page = desk.open()
    desk.answer("First answer.")
    desk.ask("Firts question")
    desk.answer("Second answer.")
    desk.ask("Another", 2)
    page.locator("article.user").first.get_by_role("button", name="Edit").click()
    editor = page.get_by_label("Edit your message")
    assert editor.input_value() == "Firts question"
    editor.fill("First question")
    editor.press("Enter")
    answer = desk.wait_for_answer(1)
    assert page.locator("article").count() == 2, "what came after is gone"
    assert desk.asked[-1]["messages"] == [{"role": "user", "content": "First question"}]
    desk.answer("Third answer.")
    answer.get_by_role("button", name="Retry").click()
    page.wait_for_function("() => document.body.innerText.includes('Third answer.')")
    assert desk.asked[-1]["messages"] == [{"role": "user", "content": "First question"}]
    page.locator("#composer").press("ArrowUp")
    assert page.get_by_label("Edit your message").is_visible()
    page.keyboard.press("Escape")
    assert page.get_by_label("Edit your message").count() == 0


def test_several_conversations_and_their_system_prompts(desk):
    page = desk.open()
    desk.answer("Aye.")
    page.locator("#system-box summary").click()
    page.fill("#system", "Speak as a sailor.")
    desk.ask("Who are you?")
    assert desk.asked[-1]["messages"][0] == {"role": "system", "content": "Speak as a sailor."}
    page.keyboard.press("Alt+n")
    assert page.locator("article").count() == 0
    assert page.input_value("#system") == ""
    desk.ask("Something else")
    assert desk.asked[-1]["messages"][0]["role"] == "user"
    titles = page.locator("#conversations .title")
    assert titles.all_inner_texts() == ["Something else", "Who are you?"]
    titles.last.click()
    page.wait_for_function("() => document.body.innerText.includes('Who are you?')"
                           " && document.querySelector('#system').value !== ''")
    page.once("dialog", lambda dialog: dialog.accept("The sailor"))
    page.get_by_role("button", name="Rename: Who are you?").click()
    page.get_by_role("button", name="The sailor", exact=True).wait_for()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete: The sailor").click()
    page.wait_for_function("() => document.querySelectorAll('#conversations li').length === 1")
    page.click("#settings-open")
    page.click("#clear")
    page.wait_for_function("() => document.querySelectorAll('#conversations li').length === 0")


def test_settings_reach_the_request(desk):
    page = desk.open()
    desk.answer("Yes.")
    page.click("#settings-open")
    page.fill("#temperature", "0.3")
    page.fill("#max-tokens", "77")
    page.select_option("#thinking", "disabled")
    page.keyboard.press("Escape")
    page.wait_for_selector("#settings", state="hidden")
    desk.ask("Hello")
    asked = desk.asked[-1]
    assert (asked["temperature"], asked["max_tokens"]) == (0.3, 77)
    assert asked["thinking"] == {"type": "disabled"}
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.click("#settings-open")
    assert page.input_value("#temperature") == "0.3"


def test_who_waits_sees_where(desk, shot):
    page = desk.open()
    news = {"position": 3, "waited_ms": 2004, "estimated_start_ms": {"median": 4100, "p90": 6200},
            "reason": "behind_others", "object": "galley.queue", "id": "x", "choices": []}
    shown = []
    page.expose_function("noted", lambda text: shown.append(text))
    page.evaluate("new MutationObserver(() => noted(document.querySelector('#queue').textContent))"
                  ".observe(document.querySelector('#queue'), {childList: true})")
    desk.answer("At last.", events=[sse(news, "galley.queue"), ": keep-alive\n\n",
                                    sse(news | {"position": 1}, "galley.queue")])
    desk.ask("Quickly please")
    page.wait_for_timeout(100)
    assert "Place 3 in the queue. Starts in about 4.1 s" in " ".join(shown)
    assert page.locator("#queue").is_hidden()


def test_refusals_are_told(desk):
    desk.open()
    desk.answer(status=429, headers={"Retry-After": "7"},
                body='{"error": {"message": "too <b>many</b> requests"}}')
    answer = desk.ask("Hello")
    assert answer.locator(".note").inner_text() == \
        "This failed: too <b>many</b> requests Try again in 7 s."
    desk.wrong.clear()  # The browser's own line about the status.


def test_a_key_is_asked_for(desk_of):
    with serving.Server("--api-key", "open-sesame", api_key="open-sesame") as locked:
        desk = desk_of(locked)
        page = desk.page
        page.goto(locked.url + "/")
        page.wait_for_selector("#settings[open]")
        page.fill("#key", "open-sesame")
        page.click("#settings-close")
        page.wait_for_selector("#model option", state="attached")
        desk.ask("What is 1 + 1?")
        assert page.evaluate("localStorage.getItem('galley.key')") is None, "not kept unasked"
        desk.wrong.clear()  # The 401 that began it.


def test_a_real_queue_is_shown_live(desk_of, shot):
    with serving.Server("--max-num-seqs", "1", "--shutdown-timeout", "1") as small:
        body = {"messages": [{"role": "user", "content": "Go on."}], "ignore_eos": True,
                "max_tokens": 1800}

        def occupy():
            with contextlib.suppress(OSError, http.client.HTTPException):  # The server ends first.
                small.post("/v1/chat/completions", body)

        for _ in range(5):
            threading.Thread(target=occupy, daemon=True).start()
        serving.eventually(lambda: small.metric("vllm:num_requests_waiting") >= 2, 5, "a queue")
        desk = desk_of(small)
        page = desk.open()
        desk.say("What is 1 + 1?")
        page.wait_for_selector("#queue:visible")
        first = page.locator("#queue").inner_text()
        assert re.match(r"Place \d in the queue\. Starts in about|You are next\.", first), first
        shot(page, "chat-queue")
        page.wait_for_function("before => { const now = document.querySelector('#queue');"
                               " return now.hidden || now.textContent !== before; }", arg=first)
        page.keyboard.press("Escape")
        assert desk.wait_for_answer().locator(".note").inner_text() == "Stopped."
        assert page.locator("#queue").is_hidden()
