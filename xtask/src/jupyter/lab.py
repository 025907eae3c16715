"""Opens a notebook in JupyterLab in headless Chromium, as a user would, and works in it;
`cargo xtask notebooks --lab` calls this.

Runs all cells, waits until the live display of training has changed a few times, presses the
interrupt button, and waits for the cells after it, which use the model as it was. Screenshots go
to --out. Exit status: 0 all was seen, 1 something was not.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

PICTURE = ".jp-RenderedSVG img"
INTERRUPT = "[data-command='notebook:interrupt-kernel'], jp-button[title^='Interrupt']"
# Without the flags on networking, Chromium looks up its maker's hosts at every start.
CHROMIUM = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,1500",
]


class NotSeen(Exception):
    pass


def until(what, condition, seconds):
    """The condition's first true value; polled often, as what is waited for may be short."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.1)
    raise NotSeen(f"{what}: not within {seconds} s")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answers(port):
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def work(browser, address, out):
    browser.get(address)
    ready = "return window.jupyterapp?.shell?.currentWidget?.context?.isReady ?? false"
    until("the notebook", lambda: browser.execute_script(ready), 120)
    state = "return window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status"
    status = lambda: browser.execute_script(state)
    until("an idle kernel", lambda: status() == "idle", 120)
    print("the notebook is open, its kernel idle", flush=True)
    # Rich output of earlier runs would be taken for today's.
    for command in ("notebook:clear-all-cell-outputs", "notebook:run-all-cells"):
        browser.execute_script("window.jupyterapp.commands.execute(arguments[0])", command)
    # Found and read in one script: each change puts a new element in place of the one before.
    source = lambda: browser.execute_script(
        "return document.querySelector(arguments[0])?.src", PICTURE
    )
    changes = {until("the live picture", source, 180)}

    def changed():
        # None, where the script came between an old element and its successor, is no picture.
        changes.update(filter(None, [source()]))
        return len(changes) >= 6

    until("a picture that changes", changed, 60)
    print(f"the live picture has changed {len(changes) - 1} times", flush=True)
    browser.save_screenshot(os.path.join(out, "training.png"))
    prompt = lambda: browser.execute_script(
        "return window.jupyterapp.shell.currentWidget.content.widgets"
        ".filter(cell => cell.model.type === 'code').map(cell => cell.model.executionCount)"
    )

    def press():
        try:
            browser.find_element(By.CSS_SELECTOR, INTERRUPT).click()
        except (NoSuchElementException, StaleElementReferenceException):
            # The toolbar is being drawn anew.
            return False
        return True

    until("the interrupt button", press, 10)
    pressed = time.monotonic()
    # JupyterLab takes cells far from the window off the page: the model's outputs are what counts.
    outputs = (
        "return JSON.stringify(window.jupyterapp.shell.currentWidget.content.widgets"
        ".filter(cell => cell.model.type === 'code').map(cell => cell.model.outputs.toJSON()))"
    )
    shown = lambda: browser.execute_script(outputs)
    until("the interrupted run", lambda: "keeps what it has learned" in shown(), 10)
    print(f"interrupted: {time.monotonic() - pressed:.1f} s until the page shows it", flush=True)
    until("all cells run", lambda: None not in prompt() and status() == "idle", 180)
    if '"output_type":"error"' in shown():
        raise NotSeen("a cell after the interrupt failed")
    if "predicted tokens" not in shown():
        raise NotSeen("no evaluation of the model that was interrupted")
    print(f"cells {prompt()} have run, with the model as it was", flush=True)
    browser.execute_script(
        "const book = window.jupyterapp.shell.currentWidget.content;"
        "book.activeCellIndex = book.widgets.length - 1;"
        "book.scrollToItem(book.widgets.length - 1)"
    )
    time.sleep(2)
    browser.save_screenshot(os.path.join(out, "end.png"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebook")
    parser.add_argument("--out", required=True, help="folder for the screenshots")
    args = parser.parse_args()
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        print("no chromium and chromedriver (Debian: chromium, chromium-driver)", file=sys.stderr)
        return 2
    os.makedirs(args.out, exist_ok=True)
    token, port = secrets.token_hex(16), free_port()
    with contextlib.ExitStack() as stack:
        folder, profile = (stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2))
        name = os.path.basename(args.notebook)
        log = stack.enter_context(open(os.path.join(args.out, "server.log"), "w"))
        # A copy: JupyterLab saves as it likes.
        shutil.copy(args.notebook, os.path.join(folder, name))
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--expose-app-in-browser"]
            + ["--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
            + [f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}"],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        options = Options()
        options.binary_location = chromium
        for flag in CHROMIUM + [f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        try:
            until("JupyterLab", lambda: answers(port), 60)
            browser = webdriver.Chrome(options=options, service=Service(driver))
            try:
                work(browser, f"http://127.0.0.1:{port}/lab/tree/{name}?token={token}", args.out)
            except NotSeen as error:
                browser.save_screenshot(os.path.join(args.out, "failed.png"))
                print(error, file=sys.stderr)
                return 1
            finally:
                browser.quit()
        except NotSeen as error:
            print(error, file=sys.stderr)
            return 1
        finally:
            server.terminate()
            server.wait(30)
    return 0


if __name__ == "__main__":
    sys.exit(main())
