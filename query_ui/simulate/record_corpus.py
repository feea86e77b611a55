"""Makes corpus.json.xz: stacks captured on real programs of this machine, which `fleetprof simulate` varies.

    sudo .venv/bin/python -m query_ui.simulate.record_corpus [SECONDS_A_PROGRAM]

It runs programs of several kinds (a Go compiler, a Java compiler, a Node server, a column database, command-line
tools), samples them with the agent's own pipeline, and keeps what a stack is made of: kinds, names of functions
and of the files that they are in. No code, no data, no paths.
"""

import json
import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.aggregate import ClosedWindow
from agent.assemble import Assembly
from agent.config import TABLE, AgentConfig
from agent.pipeline import Pipeline
from fleetprof.frames import Frame
from fleetprof.profile_types import ProfileType
from fleetprof.settings import load_settings
from query_ui.simulate.corpus import FILE

LEAST_NAMED_SHARE = 0.6
"""Stacks with fewer named frames than this are left out: they say little."""
LEAST_DEPTH = 4
MOST_STACKS = 1500
"""Kept for each program and type, those with the most captures."""

_NODE = """
const http = require('http'), zlib = require('zlib'), crypto = require('crypto');
const items = Array.from({length: 400}, (_, i) => ({id: i, name: 'item ' + i, tags: ['a' + i % 7, 'b' + i % 5]}));
function render(list) { return list.map(x => `<li>${x.name.replace(/[<>&]/g, '')}</li>`).join(''); }
const routes = {
  '/list': (q, s) => s.end(render(items)),
  '/json': (q, s) => s.end(JSON.stringify(items.filter(x => x.id % 3))),
  '/zip': (q, s) => s.end(zlib.gzipSync(JSON.stringify(items))),
  '/hash': (q, s) => s.end(crypto.createHash('sha256').update(JSON.stringify(items)).digest('hex')),
  '/sort': (q, s) => s.end(String([...items].sort((a, b) => a.name < b.name ? 1 : -1).length)),
};
const server = http.createServer((q, s) => routes[q.url](q, s)).listen(0, () => {
  const port = server.address().port, paths = Object.keys(routes);
  let n = 0;
  const one = () => http.get({port, path: paths[n++ % paths.length]}, r => {
    let text = ''; r.on('data', d => text += d); r.on('end', one);
  });
  for (let i = 0; i < 8; i++) one();
});
"""
_JAVA = "class C%d {{ java.util.Map<String, java.util.List<Integer>> m = new java.util.HashMap<>(); {0} }}"
_CHDB = """
import chdb.session
s = chdb.session.Session()
s.query("CREATE TABLE t (a UInt64, b String, c DateTime) ENGINE=MergeTree ORDER BY (a, c)")
while True:
    s.query("INSERT INTO t SELECT number % 977, toString(number * 7919), toDateTime(number) FROM numbers(400000)")
    s.query("SELECT b, count() FROM t GROUP BY b ORDER BY 2 DESC LIMIT 9")
    s.query("SELECT a, uniq(b), quantile(0.9)(length(b)) FROM t WHERE b LIKE '%91%' GROUP BY a")
    s.query("SELECT x.a, count() FROM t AS x JOIN (SELECT DISTINCT a, c FROM t) AS y ON x.a = y.a GROUP BY x.a")
    s.query("OPTIMIZE TABLE t FINAL")
"""
_TOOLS = """
while true; do
  git -C "$1" log --stat -200 >/dev/null; tar cf - "$1/.git" 2>/dev/null | gzip -1 >/dev/null
  find /usr/lib -type f 2>/dev/null | sort | sha256sum >/dev/null; grep -rc define /usr/include >/dev/null 2>&1
  sqlite3 :memory: "with recursive n(i) as (select 1 union all select i + 1 from n limit 300000)
    select count(*), sum(i * i %% 97) from n where i %% 7 group by i %% 13" >/dev/null
  perl -e 'my %%h; $h{$_ %% 977} .= reverse $_ for 1..400000; print scalar keys %%h' >/dev/null
  dd if=/dev/zero of="$2/zeros" bs=4k count=20000 conv=fsync 2>/dev/null
done
"""


def _go(folder: Path) -> list[str]:
    go = shutil.which("go", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return ["sh", "-c", f"while true; do GOCACHE={folder}/go$RANDOM {go} build -a net/http go/types; done"]


def _node(folder: Path) -> list[str]:
    (folder / "server.js").write_text(_NODE)
    flags = ["--perf-basic-prof", "--interpreted-frames-native-stack", "--no-logfile-per-isolate"]
    return ["node", *flags, f"--logfile={folder}/v8.log", str(folder / "server.js")]


def _java(folder: Path) -> list[str]:
    """javac over invented classes, again and again in one JVM; its perf map is written every second."""
    body = " ".join(
        f'int f{n}(int x) {{{{ var l = m.computeIfAbsent("k" + x, k -> new java.util.ArrayList<>()); l.add(x);'
        f" return l.stream().mapToInt(i -> i * {n}).filter(i -> i % 2 == 0).sum() + f{max(n - 1, 0)}(x - 1); }}}}"
        for n in range(60)
    )
    for number in range(30):
        (folder / f"C{number}.java").write_text(
            (_JAVA % number).format(body.replace("{{", "{").replace("}}", "}"))
        )
    (folder / "Compile.java").write_text(
        "public class Compile { public static void main(String[] a) { while (true)"
        " javax.tools.ToolProvider.getSystemJavaCompiler().run(null, null, null, a); } }"
    )
    subprocess.run(["javac", "-d", str(folder), str(folder / "Compile.java")], check=True)
    files = [str(path) for path in folder.glob("C[0-9]*.java")]
    flags = ["-XX:+PreserveFramePointer", "-XX:TieredStopAtLevel=1", "-cp", str(folder)]
    return ["java", *flags, "Compile", "-d", str(folder), *files]


def _chdb(folder: Path) -> list[str]:
    return [sys.executable, "-c", _CHDB]


def _tools(folder: Path) -> list[str]:
    return ["bash", "-c", _TOOLS.replace("%%", "%"), "tools", str(Path(__file__).parents[2]), str(folder)]


PROGRAMS: dict[str, tuple[Callable[[Path], list[str]], set[str]]] = {
    "go": (_go, {"compile", "link", "asm", "go"}),
    "node": (_node, {"node"}),
    "java": (_java, {"java"}),
    "database": (_chdb, set()),
    "tools": (_tools, {"git", "tar", "gzip", "find", "sort", "sha256sum", "grep", "sqlite3", "perl", "dd"}),
}
"""Name → what starts it, and the names of its processes (the one that is started when there are none)."""


class _Gathered:
    """Captures by stack for each type, of the programs' processes."""

    def __init__(self, processes: set[str]) -> None:
        self._processes = processes
        self.captures: dict[str, Counter[tuple[Frame, ...]]] = {"cpu": Counter(), "offcpu": Counter()}

    def add(self, window: ClosedWindow) -> None:
        rows = window.rows
        columns = (rows.series, rows.stack, rows.type, rows.captures)
        for series, stack, kind, captures in zip(*(column.tolist() for column in columns), strict=True):
            counted = self.captures.get(ProfileType(kind).label)
            if counted is None or not captures or not self._wanted(window.series[series]):
                continue
            counted[tuple(_bare(window.frames[frame]) for frame in window.stacks[stack])] += captures

    def _wanted(self, labels: dict[str, str]) -> bool:
        return labels.get("process", "") in self._processes


def _bare(frame: Frame) -> Frame:
    """The frame without the file and line of its source."""
    return Frame(frame.kind, frame.function, frame.mapping, frame.build_id, frame.offset)


def _record(name: str, seconds: float) -> dict[str, Counter[tuple[Frame, ...]]]:
    start, processes = PROGRAMS[name]
    with tempfile.TemporaryDirectory() as folder:
        command = start(Path(folder))
        gathered = _Gathered(processes or {Path(os.path.realpath(command[0])).name})
        config = load_settings(TABLE, AgentConfig, {}, {}).config
        with Assembly(config) as assembly:
            pipeline = Pipeline(assembly.parts, gathered.add)
            output = subprocess.DEVNULL
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
            ended = threading.Event()
            threading.Thread(target=_name_java, args=(name, process.pid, ended), daemon=True).start()
            threading.Timer(seconds, pipeline.stop).start()
            pipeline.run()
            ended.set()
            os.killpg(process.pid, 9)
            process.wait()
        time.sleep(0.5)  # what it had started ends too, and lets go of the folder
    return gathered.captures


def _name_java(name: str, pid: int, ended: threading.Event) -> None:
    while name == "java" and not ended.wait(1.5):
        subprocess.run(["jcmd", str(pid), "Compiler.perfmap"], stdout=subprocess.DEVNULL, check=False)


def _chosen(counted: Counter[tuple[Frame, ...]]) -> list[tuple[tuple[Frame, ...], int]]:
    def tells(stack: tuple[Frame, ...]) -> bool:
        named = sum(bool(frame.function) for frame in stack)
        return len(stack) >= LEAST_DEPTH and named >= LEAST_NAMED_SHARE * len(stack)

    return [(stack, count) for stack, count in counted.most_common() if tells(stack)][:MOST_STACKS]


def _as_json(recorded: dict[str, dict[str, Counter[tuple[Frame, ...]]]]) -> dict[str, Any]:
    """See corpus.py for the layout."""
    places: dict[Frame, int] = {}
    programs = {}
    for name, by_type in recorded.items():
        stacks = [
            [kind, count, [places.setdefault(frame, len(places)) for frame in stack]]
            for kind, counted in by_type.items()
            for stack, count in _chosen(counted)
        ]
        programs[name] = stacks
    return {"frames": [list(frame[:5]) for frame in places], "programs": programs}


def main() -> None:
    """Record every program and write the corpus beside this file."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20.0
    recorded = {}
    for name in PROGRAMS:
        recorded[name] = _record(name, seconds)
        counts = {kind: (len(counted), len(_chosen(counted))) for kind, counted in recorded[name].items()}
        print(f"{name}: {counts}", flush=True)
    data = lzma.compress(json.dumps(_as_json(recorded), separators=(",", ":")).encode("utf-8"), preset=9)
    FILE.write_bytes(data)
    print(f"{FILE}: {len(data)} bytes")


if __name__ == "__main__":
    main()
