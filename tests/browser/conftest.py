"""A real browser (Debian's Chromium, headless) before a real server.

What a model could never be made to say comes from an answer() of the test's own, put in the place
of the server's by the browser; the page, its policy and everything else stay the real ones.
"""

import json
import os
import shutil
import time

import pytest
import server as serving
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def server():
    with serving.Server("--max-num-seqs", "8", "--shutdown-timeout", "5") as running:
        yield running


@pytest.fixture(scope="session")
def chromium():
    assert CHROMIUM, "Chromium is not installed: make setup"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Desk:
    """One person's browser: a context of its own, and what went wrong in it."""

    def __init__(self, browser, server, **options):
        defaults = {"locale": "en-US", "viewport": {"width": 1200, "height": 800}}
        self.context = browser.new_context(**(defaults | options))
        self.context.set_default_timeout(10_000 * serving.PATIENCE)
        self.page = self.context.new_page()
        self.url = server.url
        self.wrong = []
        self.asked = []  # bodies of chat requests
        self.hosts = set()
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("console", lambda message: message.type == "error"
                     and self.wrong.append(f"console: {message.text}"))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))

    def open(self, path="/"):
        self.page.goto(self.url + path)
        self.page.wait_for_selector("body[data-ready]")
        return self.page

    def answer(self, content="", reasoning="", pieces=1, events=(), status=200, headers=None,
               body=None):
        """What every chat request is answered from now on."""

        def fulfil(route):
            self.asked.append(json.loads(route.request.post_data))
            if status != 200:
                return route.fulfill(status=status, headers=headers or {}, body=body or "",
                                     content_type="application/json")
            text = "".join(events)
            for name, words in (("reasoning_content", reasoning), ("content", content)):
                size = max(1, -(-len(words) // pieces))
                for at in range(0, len(words), size):
                    text += sse({"choices": [{"index": 0, "delta": {name: words[at:at + size]},
                                              "finish_reason": None}]})
            text += sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                         "usage": {"completion_tokens": 7,
                                   "completion_tokens_details": {"reasoning_tokens": 3}}})
            route.fulfill(status=200, content_type="text/event-stream",
                          body=text + "data: [DONE]\n\n")

        self.page.unroute("**/v1/chat/completions")
        self.page.route("**/v1/chat/completions", fulfil)

    def say(self, text):
        self.page.fill("#composer", text)
        self.page.press("#composer", "Enter")

    def wait_for_answer(self, number=1):
        """Until `number` answers stand there and none is being written; the last one."""
        self.page.wait_for_function(
            "n => document.querySelectorAll('article.assistant').length === n && "
            "!document.querySelector('article.streaming')", arg=number)
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => "
                           "requestAnimationFrame(() => done(true))))")
        return self.page.locator("article.assistant").last

    def ask(self, text, number=1):
        self.say(text)
        return self.wait_for_answer(number)


def sse(value, name=None):
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(value)}\n\n"


@pytest.fixture
def desk_of(chromium, server):
    """Makes desks; whatever a page complained about fails the test."""
    made = []

    def make(at=server, **options):
        made.append(Desk(chromium, at, **options))
        return made[-1]

    yield make
    for desk in made:
        desk.context.close()
    for desk in made:
        assert desk.wrong == [], desk.wrong
        assert desk.hosts <= {desk.url.split("/")[2]}, "another host was asked"


@pytest.fixture
def desk(desk_of):
    return desk_of()


@pytest.fixture
def shot():
    """Saves a picture where SHOTS says, for a person to look at."""
    folder = os.environ.get("SHOTS")

    def take(page, name):
        if folder:
            time.sleep(0.2)
            page.screenshot(path=f"{folder}/{name}.png")

    return take
