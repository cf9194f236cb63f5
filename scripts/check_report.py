#!/usr/bin/env python3
"""Does a page of `brigade report` stand in a browser, on a screen and on a telephone?

    scripts/check_report.py                          pages of the checked-in fixtures
    scripts/check_report.py latency.json run.json    of these results
    scripts/check_report.py --shots DIR              keeps a picture of each page as well
    scripts/check_report.py --brigade PATH           another build than target/release/brigade

Each page is opened in headless Chromium, 1280 and 400 pixels wide, light and dark.
Exit code 1 means that the browser wrote something on its console, that the page asked for
something from elsewhere, that it scrolls sideways, that a figure shows no mark, that a
text of a picture lies outside of it, or that two texts lie on each other. Without
Chromium it says so and ends with exit code 0: there is nothing to check with. In CI that
would be a check that nobody makes: --required ends with exit code 1 then.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "crates/report/src/html/fixtures"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# What is wrong with the page as it lies there, as sentences.
LOOK = r"""
(() => {
  const wrong = [];
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth) {
    wrong.push(`it scrolls sideways: ${page.scrollWidth} of ${page.clientWidth} px`);
  }
  const figures = document.querySelectorAll("figure");
  if (figures.length === 0) wrong.push("it has no figure");
  for (const figure of figures) {
    const svg = [...figure.querySelectorAll("svg[role=img]")].find(s => s.getClientRects().length);
    if (!svg) { wrong.push(`${figure.id} shows no picture`); continue; }
    if (!svg.querySelector(".mark")) wrong.push(`${figure.id} has no marks`);
    const frame = svg.getBoundingClientRect();
    const scale = frame.width / svg.viewBox.baseVal.width;
    const texts = [...svg.querySelectorAll("text")].map(t => [t, t.getBoundingClientRect()]);
    for (const [text, box] of texts) {
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1) {
        wrong.push(`${figure.id}: "${text.textContent}" is cut off`);
      }
      const size = parseFloat(getComputedStyle(text).fontSize) * scale;
      if (size < 9) wrong.push(`${figure.id}: "${text.textContent}" is ${size.toFixed(1)} px high`);
    }
    for (let i = 0; i < texts.length; i++) {
      for (let j = i + 1; j < texts.length; j++) {
        const [a, b] = [texts[i][1], texts[j][1]];
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1 && high > 4) {
          wrong.push(`${figure.id}: "${texts[i][0].textContent}" lies on "${texts[j][0].textContent}"`);
        }
      }
    }
  }
  return wrong;
})()
"""


class Browser:
    """Chromium, spoken to by the DevTools protocol over two pipes."""

    def __init__(self, program: str, home: str):
        to_browser, self.write = os.pipe()
        self.read, from_browser = os.pipe()
        # It listens on descriptor 3 and answers on 4. The pipes may have these numbers
        # themselves, so they are moved out of the way first.
        ends = [os.dup(fd) for fd in (to_browser, from_browser)]
        script = f'exec 3<&{ends[0]} 4>&{ends[1]}; exec "$@"'
        self.process = subprocess.Popen(
            ["bash", "-c", script, "bash", program, "--headless", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
             f"--user-data-dir={home}"],
            pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in (*ends, to_browser, from_browser):
            os.close(fd)
        self.number, self.rest, self.events, self.session = 0, b"", [], None
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def receive(self) -> dict:
        while b"\0" not in self.rest:
            chunk = os.read(self.read, 1 << 20)
            if not chunk:
                sys.exit("Chromium went away")
            self.rest += chunk
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def ask(self, method: str, **params) -> dict:
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path, width: int, dark: bool) -> list[str]:
        """Shows a page, and says what is wrong with it."""
        self.events.clear()
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900,
                 deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=page.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())
        found = self.ask("Runtime.evaluate", expression=LOOK, returnByValue=True)["result"]
        wrong = list(found.get("value", ["it could not be looked at"]))
        for event in self.events:
            params = event.get("params", {})
            match event.get("method"):
                case "Log.entryAdded":
                    wrong.append(f"console: {params['entry']['text']}")
                case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                    wrong.append("a script ran, and there should be none")
                case "Network.requestWillBeSent":
                    url = params["request"]["url"]
                    if not url.startswith(("file:", "data:")):
                        wrong.append(f"it asks for {url}")
        return wrong

    def shot(self, file: Path) -> None:
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.ask("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self.session = None
        os.write(self.write, b'{"id":0,"method":"Browser.close"}\0')
        self.process.wait(timeout=20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("results", nargs="*", type=Path)
    parser.add_argument("--brigade", type=Path)
    parser.add_argument("--shots", type=Path)
    parser.add_argument("--required", action="store_true")
    args = parser.parse_args()

    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        if args.required:
            sys.exit("no Chromium here (apt-get install chromium), and it is required")
        print("skipped: no Chromium here (apt-get install chromium)")
        return
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    brigade = args.brigade or target / "release" / "brigade"
    if not brigade.exists():
        sys.exit(f"{brigade} is missing: cargo build --release, or --brigade PATH")
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)

    failed = False
    with tempfile.TemporaryDirectory() as directory:
        browser = Browser(program, directory)
        for result in args.results or sorted(FIXTURES.glob("*.json")):
            page = Path(directory) / f"{result.stem}.html"
            subprocess.run([brigade, "report", result, "-o", page], check=True, stderr=subprocess.PIPE)
            for width in (1280, 400):
                for dark in (False, True):
                    name = f"{result.stem}-{width}-{'dark' if dark else 'light'}"
                    wrong = browser.open(page, width, dark)
                    if args.shots:
                        browser.shot(args.shots / f"{name}.png")
                    for sentence in wrong:
                        print(f"{name}: {sentence}")
                    failed |= bool(wrong)
                    print(f"{'not ok' if wrong else 'ok'}: {name}")
        browser.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
