"""The search page in a real browser: what a person sees, types and shares; and what hostile documents cannot do."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from conftest import DEADLINE, HOSTILE, PAYLOADS
from served import until

browsing = pytest.importorskip("playwright.sync_api", reason="needs a browser driver: pip install playwright")
browsing.expect.set_options(timeout=DEADLINE)
expect = browsing.expect

QUERY = "copy files"
TOKEN = "a token of enough length, with an ö"


def answers(page):
    return page.locator("#results .answers > li")


def ids(page, side=0):
    rows = page.locator("#results ol").nth(side).locator("> li")
    return rows.evaluate_all("rows => rows.map((row) => row.dataset.id)")


def settled(page, count=10):
    """Waits until so many answers are there and nothing is asked any more."""
    page.wait_for_selector("#results[aria-busy=false]")
    expect(page.locator("#results ol").first.locator("> li")).to_have_count(count)


def searched(server, **asked):
    """What the server answers to the same question."""
    status, found = server.post("/search", {"text": QUERY, **asked})
    assert status == 200, found
    return found["answers"]


def style(page, selector, name):
    return page.eval_on_selector(selector, "(one, name) => getComputedStyle(one)[name]", name)


def test_answers_appear_as_one_types_and_matched_words_are_marked(opened, server):
    page = opened()
    page.keyboard.type(QUERY)  # the box has the focus from the start
    settled(page)
    assert ids(page) == [answer["id"] for answer in searched(server)]
    marks = page.locator("#results mark").all_inner_texts()
    assert marks
    assert {mark.lower()[:3] for mark in marks} == {"cop", "fil"}
    assert page.locator("#count").inner_text() == "10 answers"
    figures = page.locator("#figures").inner_text()
    assert re.search(r"ms\s+encode [\d.]+\s+search [\d.]+\s+read [\d.]+", figures)
    assert re.search(r"[\d.,]+ (bytes|kB)\s+instead of [\d.,]+ kB", figures)


def test_a_search_that_is_overtaken_is_given_up(opened):
    page = opened()
    page.wait_for_selector(".start")
    held, given_up = [], []
    page.on("requestfailed", lambda request: given_up.append(request.post_data_json["text"]))
    page.route("**/search", lambda route: held.append(route), times=1)
    page.fill("#query", "archive")
    until(lambda: held or page.wait_for_timeout(5))
    page.fill("#query", QUERY)
    settled(page)
    assert given_up == ["archive"]
    assert page.title().startswith(QUERY)
    held[0].abort()


def test_the_address_restores_the_whole_search(opened):
    page = opened()
    page.fill("#query", "list & sort ü文")
    page.get_by_label("Both").check()
    page.get_by_label("Answers").select_option("5")
    page.get_by_role("button", name="Filters").click()
    page.locator(".chip", has_text="common").click()
    page.get_by_label("from").fill("3")
    page.get_by_label("from").blur()
    settled(page, 5)
    expect(page).to_have_url(re.compile("least"))
    given = parse_qs(urlsplit(page.url).query)
    assert given == {
        "q": ["list & sort ü文"],
        "mode": ["hybrid"],
        "k": ["5"],
        "is:platform": ["common"],
        "least:examples": ["3"],
    }
    again = opened(f"?{urlsplit(page.url).query}")
    settled(again, 5)
    assert ids(again) == ids(page)
    assert again.input_value("#query") == "list & sort ü文"
    assert again.get_by_label("Both").is_checked()
    assert again.locator("#filtersButton").inner_text().split() == ["Filters", "2"]


def test_back_and_forward_walk_through_searches(opened):
    page = opened()
    page.wait_for_selector(".start")
    page.keyboard.type("archive")
    page.keyboard.press("Enter")
    settled(page)
    first = ids(page)
    page.fill("#query", "")
    page.keyboard.type("network")
    page.keyboard.press("Enter")
    expect(page).to_have_title(re.compile("^network"))
    settled(page)
    page.go_back()
    expect(page).to_have_title(re.compile("^archive"))
    assert (page.input_value("#query"), ids(page)) == ("archive", first)
    page.go_back()
    page.wait_for_selector(".start")
    assert page.input_value("#query") == ""
    page.go_forward()
    expect(page).to_have_title(re.compile("^archive"))


def test_the_exact_answers_stand_beside_with_what_moved(opened, server):
    codes = {answer["id"]: answer["rank"] for answer in searched(server)}
    exact = {answer["id"]: answer["rank"] for answer in searched(server, exact=True)}
    both = codes.keys() & exact.keys()
    assert 2 < len(both) < 10  # codes this small move some and lose some
    page = opened(f"?q={QUERY}")
    page.get_by_role("switch", name="Beside exact").click()
    page.wait_for_selector(".lines path")
    assert (ids(page, 0), ids(page, 1)) == (list(codes), list(exact))
    moved = [one for one in both if codes[one] != exact[one]]
    counted = page.locator("#count").inner_text()
    assert counted == f"10 answers, {len(both)} shared with exact, {len(moved)} moved"
    badges = page.locator(".move").evaluate_all(
        "all => all.map((one) => [one.closest('li').dataset.id, one.firstChild.textContent])"
    )
    steps = {one: exact[one] - codes[one] for one in moved}
    assert dict(badges) == {
        **{one: f"▲ {step}" if step > 0 else f"▼ {-step}" for one, step in steps.items()},
        **dict.fromkeys(codes.keys() - exact, "new"),
        **dict.fromkeys(exact.keys() - codes, "lost"),
    }
    assert page.locator(".lines path:is(.up, .down, .same)").count() == len(both)


def test_a_click_says_why_an_answer_moved(opened, server):
    exact = {answer["id"]: answer["rank"] for answer in searched(server, exact=True)}
    shown = searched(server)
    moved = next(answer for answer in shown if exact.get(answer["id"], answer["rank"]) != answer["rank"])
    _, found = server.post("/explain", {"text": QUERY, "ids": [moved["id"]]})
    (why,) = found["explanations"]
    error = why["decoded_score"] - why["exact_score"]
    page = opened(f"?q={QUERY}&beside=1")
    page.locator(f"[data-id='{moved['id']}'] .open").first.click()
    said = page.locator(".because").inner_text()
    assert said.startswith(f"Codes {'overrate' if error > 0 else 'underrate'} it by {abs(error):.3f}")
    way = "rises" if why["rank"] < why["exact_rank"] else "falls"
    assert said.endswith(f"it {way} from {why['exact_rank']} to {why['rank']}.")
    assert page.locator(".why rect").count() == len(why["parts"])
    assert page.locator(".why .sides").inner_text().split() == [
        *("Codes", "rank", str(why["rank"]), f"{why['decoded_score']:.3f}".replace("-", "−")),
        *("Exact", "rank", str(why["exact_rank"]), f"{why['exact_score']:.3f}".replace("-", "−")),
    ]


def test_filters_narrow_the_answers(opened, server):
    page = opened(f"?q={QUERY}")
    settled(page)
    page.get_by_role("button", name="Filters").click()
    page.locator(".chip", has_text="android").click()
    settled(page, 3)
    of_android = searched(server, where={"platform": "android"})
    assert ids(page) == [answer["id"] for answer in of_android]
    page.get_by_label("from").fill("100")
    page.get_by_label("from").press("Enter")
    page.get_by_text("No document passes these filters.").wait_for()
    assert page.locator("#count").inner_text() == "No answers"
    page.locator("#results .clear").click()
    settled(page)
    assert parse_qs(urlsplit(page.url).query) == {"q": [QUERY]}


def test_the_keyboard_alone_is_enough(opened):
    page = opened()
    page.keyboard.type(QUERY)
    settled(page)
    focused = "document.activeElement.closest('li')?.querySelector('.rank').textContent"
    for key, rank in (("ArrowDown", "1"), ("j", "2"), ("ArrowDown", "3"), ("k", "2")):
        page.keyboard.press(key)
        assert page.evaluate(focused) == rank
    assert page.eval_on_selector(":focus", "one => getComputedStyle(one, '::after').outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.locator(".is-open .because").wait_for()
    assert page.locator(".open[aria-expanded=true]").count() == 1
    page.keyboard.press("Escape")
    assert page.locator(".is-open").count() == 0
    assert page.evaluate(focused) == "2"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("/jk")  # in the box they are letters
    assert page.input_value("#query") == "/jk"


def test_newer_answers_leave_the_focus_where_it_is(opened):
    page = opened(f"?q={QUERY}")
    settled(page)
    held = []
    page.route("**/search", lambda route: held.append(route), times=1)
    page.get_by_label("Answers").select_option("20")
    until(lambda: held or page.wait_for_timeout(5))
    page.locator(".open").nth(3).focus()
    held[0].continue_()
    settled(page, 20)
    assert page.evaluate("document.activeElement.closest('li').querySelector('.rank').textContent") == "4"


def test_left_and_right_cross_to_the_same_document(opened):
    page = opened(f"?q={QUERY}&beside=1")
    page.wait_for_selector(".lines path")
    shared = next(one for one in ids(page, 0) if one in ids(page, 1))
    page.locator("ol").first.locator(f"[data-id='{shared}'] .open").focus()
    page.keyboard.press("ArrowRight")
    row = "document.activeElement.closest('li').dataset.id"
    section = "document.activeElement.closest('section[aria-label]').ariaLabel"
    assert (page.evaluate(row), page.evaluate(section)) == (shared, "Exact")
    assert page.locator(".lines .is-linked").count() == 1


def test_every_control_has_a_name_and_the_count_is_announced(opened):
    page = opened(f"?q={QUERY}")
    settled(page)
    page.get_by_role("button", name="Filters").click()
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, select, button')].filter((one) =>"
        " !(one.ariaLabel || one.textContent.trim() || [...one.labels].some((label) => label.textContent.trim())))"
        ".map((one) => one.outerHTML)"
    )
    assert nameless == []
    assert page.get_by_role("status").inner_text() == "10 answers"


@pytest.mark.parametrize("mode", ["lexical", "dense"])
def test_payloads_in_documents_are_text(opened, mode):
    page = opened(f"?q={HOSTILE}&mode={mode}&k=50")
    settled(page, 20 if mode == "lexical" else 50)
    page.get_by_role("button", name="Filters").click()
    page.locator("#filters button", has_text="more").first.click()
    page.locator(".open").evaluate_all("all => all.forEach((one) => one.click())")
    if mode == "lexical":
        assert sorted(page.locator(".open").all_inner_texts()) == sorted(PAYLOADS)
        shown = page.locator("dl").evaluate_all("all => all.map((one) => one.textContent).sort()")
        assert all(any(text.count(payload) >= 4 for text in shown) for payload in PAYLOADS)
    page.locator(".because").last.wait_for()
    assert page.evaluate("window.stolen") is None
    foreign = "#results :is(script, img, iframe, style, link, meta, base, form, input), [onload], [onerror]"
    assert page.locator(foreign).count() == 0
    links = page.locator("#results a").evaluate_all("all => all.map((one) => new URL(one.href).protocol)")
    assert set(links) <= {"https:"}


def test_a_field_may_have_any_name(opened):
    page = opened(f"?q={HOSTILE}&mode=lexical&k=20")
    settled(page, 20)
    page.get_by_role("button", name="Filters").click()
    page.get_by_role("group", name="__proto__").locator(".chip", has_text="b").click()
    settled(page, 10)
    assert parse_qs(urlsplit(page.url).query)["is:__proto__"] == ["b"]


def test_payloads_in_queries_are_text(opened):
    page = opened("?k=5&beside=1")
    page.wait_for_selector(".start")
    for payload in PAYLOADS:
        page.fill("#query", payload)
        page.keyboard.press("Enter")
        expect(page).to_have_title(f"{payload} · commands")
        settled(page, 5)
        assert page.input_value("#query") == payload
    assert page.evaluate("window.stolen") is None
    assert page.locator("body script, body iframe, [onerror]").count() == 0


def test_the_policy_of_the_page_forbids_scripts_that_are_not_its_own(opened, watched):
    watched.may_complain = True
    page = opened()
    page.wait_for_selector(".start")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.stolen = 1'}))"
    )
    assert page.evaluate("window.stolen") is None
    assert any("Content Security Policy" in complaint for complaint in watched.complaints)


def test_dark_mode_is_a_choice_that_is_remembered(opened):
    page = opened(color_scheme="light")
    light = style(page, "body", "backgroundColor")
    page.get_by_role("button", name="Dark mode").click()
    dark = style(page, "body", "backgroundColor")
    assert dark != light
    page.reload()
    assert style(page, "body", "backgroundColor") == dark
    assert page.get_by_role("button", name="Dark mode").get_attribute("aria-pressed") == "true"
    assert style(opened(color_scheme="dark"), "body", "backgroundColor") == dark  # what the system asks for


def test_nothing_is_wider_than_a_phone(opened):
    page = opened(width=360, height=740, is_mobile=True, has_touch=True, device_scale_factor=2)
    page.wait_for_selector(".start")
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) == 360
    for path in (f"?q={QUERY}", f"?q={QUERY}&beside=1", f"?q={HOSTILE}&mode=lexical&k=20"):
        page.goto(page.url.partition("?")[0] + path)
        settled(page, 20 if HOSTILE in path else 10)
        page.locator("#filtersButton").tap()
        page.locator(".open").nth(2).tap()
        page.locator(".because").wait_for()
        assert page.evaluate(wide) == 360
    sizes = page.locator("#query, #k, #filters input[type=number]").evaluate_all(
        "all => all.map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(sizes) >= 16  # below, phones zoom in on what is typed


def test_the_token_is_asked_for_kept_in_the_tab_and_sent(opened, start, watched):
    watched.may_complain = True  # the console names each 401
    page = opened(f"?q={QUERY}", at=start(TOKEN))
    token = page.get_by_role("textbox", name="Token")
    token.fill("not the token of this server")
    token.press("Enter")
    page.get_by_text("That was not the token").wait_for()
    token.fill(TOKEN)
    token.press("Enter")
    settled(page)
    assert page.evaluate("JSON.stringify(sessionStorage)").count(TOKEN) == 1
    assert page.evaluate("localStorage.length") == 0
    assert not any("token" in url for url in watched.requests)
    page.reload()
    settled(page)
    assert page.get_by_role("dialog").count() == 0


def test_a_server_that_went_away_is_named_and_the_next_key_tries_again(opened, start, watched):
    watched.may_complain = True
    server = start()
    page = opened(f"?q={QUERY}", at=server)
    settled(page)
    page.context.set_offline(True)
    page.keyboard.type("x")
    page.get_by_role("alert").get_by_text("does not answer").wait_for()
    page.context.set_offline(False)
    page.keyboard.press("Backspace")
    page.get_by_role("alert").wait_for(state="hidden")
    server.process.kill()
    page.keyboard.type("y")
    page.get_by_role("alert").get_by_text("does not answer").wait_for()
    assert answers(page).count() == 10  # the last answers stay, pale


def test_what_the_server_refuses_is_said_in_its_words(opened, watched):
    watched.may_complain = True
    page = opened()
    page.wait_for_selector(".start")
    busy = {"status": 503, "headers": {"retry-after": "1"}, "json": {"error": {"message": "<b>busy</b>"}}}
    page.route("**/search", lambda route: route.fulfill(**busy), times=1)
    page.fill("#query", QUERY)
    assert page.get_by_role("alert").inner_text() == "<b>busy</b>"
    settled(page)  # it asks again by itself
    assert page.get_by_role("alert").count() == 0


def test_an_index_that_cannot_read_texts_says_so(opened, server):
    _, about = server.get("/index")
    page = opened("?nothing")
    page.route(
        "**/index", lambda route: route.fulfill(json={**about, "takes_text": False, "modes": ["dense"]})
    )
    page.reload()
    page.get_by_role("heading", name="No text can be searched here").wait_for()
    assert page.is_disabled("#query")


MARKED = [
    ("copy files", "Copies a file, copied or copying", "Copies file copied copying"),
    ("compression", "compressed, compresses; compressor", "compressed compresses"),
    ("comp", "compress the computer", "compress computer"),  # still being typed
    ("the list of ports", "lists the port of a listener", "lists port"),
    ("what is the", "what this is", "what is"),  # common words count where there are no others
    ("Straße café", "STRASSE, Cafe", "STRASSE Cafe"),
    ("复制文件", "把文件复制到目录", "文件复制"),
    ("run", "runs, running_run, rerun", "runs running run"),
    ("", "nothing", ""),
]


def test_words_are_marked_in_their_forms(opened):
    page = opened()
    found = page.evaluate(
        "async (cases) => { const { marked, matcher } = await import('/words.js');"
        " return cases.map(([query, text]) => marked(text, matcher(query)).map((one) => one.outerHTML ?? one)); }",
        [[query, text] for query, text, _ in MARKED],
    )
    for (query, text, expected), nodes in zip(MARKED, found, strict=True):
        marks = [node[6:-7] for node in nodes if node.startswith("<mark>")]
        assert (query, marks) == (query, expected.split())
        assert "".join(nodes).replace("<mark>", "").replace("</mark>", "") == text
