"""The program behind an interpreter, from real command lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.identify.interpreter import INTERPRETERS
from agent.identify.kernel_thread import base_name
from agent.identify.program import Program, program_of

PYTHON, NODE, JAVA, BUSYBOX = (
    "/usr/bin/python3.11",
    "/usr/bin/node",
    "/usr/lib/jvm/java-17/bin/java",
    "/bin/busybox",
)


@pytest.mark.parametrize(
    ("exe", "command_line", "name"),
    [
        ("/usr/sbin/nginx", "nginx: worker process", "nginx"),
        ("/opt/shop (deleted)", "/opt/shop", "shop"),
        ("/memfd:payload (deleted)", "x", "memfd:payload"),
        ("/usr/lib/postgresql/15/bin/postgres", "postgres: 15/main: walwriter", "postgres"),
        (PYTHON, "python3.11 -m http.server 8000", "http.server"),
        (PYTHON, "python3.11 -Im http.server", "http.server"),
        (PYTHON, "python3.11 -mhttp.server", "http.server"),
        (PYTHON, "python3 -u -X dev -W ignore -Wdefault /srv/worker.py --port 1", "worker"),
        (PYTHON, "python3 --check-hash-based-pycs always /srv/worker.py", "worker"),
        (PYTHON, "python3 -c pass worker.py", "python3.11"),
        (PYTHON, "python3 -uc pass worker.py", "python3.11"),
        (PYTHON, "python3 -", "python3.11"),
        (PYTHON, "python3", "python3.11"),
        (PYTHON, "python3 /srv/shop/__main__.py", "shop"),
        (PYTHON, "python3 /srv/shop/manage.py runserver", "shop"),
        (PYTHON, "python3 manage.py runserver", "manage"),
        (PYTHON, "python3 /srv/shop/", "shop"),
        (PYTHON, "python3 .", "python3.11"),
        (PYTHON, "/usr/bin/python3 /usr/bin/gunicorn --bind 0.0.0.0:8000 -w 4 shop.wsgi:application", "shop"),
        (PYTHON, "/usr/bin/python3 /usr/bin/gunicorn app:app", "app"),
        (PYTHON, "/usr/bin/python3 /usr/bin/gunicorn -k gevent shop.wsgi", "shop"),
        (PYTHON, "/usr/bin/python3 /usr/bin/gunicorn -c /etc/gunicorn.conf.py", "gunicorn"),
        (PYTHON, "python -m uvicorn shop.api.main:make_app() --factory", "shop.api.main"),
        (PYTHON, "/usr/bin/python3 /usr/bin/celery -A shop.tasks worker", "shop.tasks"),
        (PYTHON, "python -m flask --app shop run", "shop"),
        (PYTHON, "python -m flask --app=shop:create run", "shop"),
        (NODE, "node server.js", "server"),
        (NODE, "node -r ./trace.js --max-old-space-size=4096 --import ./x.mjs dist/api.mjs --port 1", "api"),
        (NODE, "node /srv/shop/index.js", "shop"),
        (NODE, "node /app/node_modules/next/dist/bin/next start", "next"),
        (NODE, "node -e 1 server.js", "node"),
        (NODE, "node --eval=1 server.js", "node"),
        ("/usr/bin/deno", "deno run -A /srv/main.ts", "main"),
        (JAVA, "java -Xmx1g -cp a.jar:b.jar -Dx=y com.example.shop.Main --port 1", "com.example.shop.Main"),
        (JAVA, "java --add-opens java.base/java.lang=ALL-UNNAMED -jar /opt/shop.jar", "shop"),
        (JAVA, "java -p mods -m com.example.shop/com.example.shop.Main", "com.example.shop.Main"),
        (JAVA, "java @/etc/shop.args com.example.Main", "com.example.Main"),
        (JAVA, "java -Dspring.application.name=checkout -jar app.jar", "checkout"),
        (JAVA, "java -version", "java"),
        ("/usr/bin/bash", "bash -e /usr/local/bin/backup.sh daily", "backup"),
        ("/usr/bin/bash", "bash -o pipefail /x/backup.sh", "backup"),
        ("/usr/bin/bash", "-bash", "bash"),
        ("/usr/bin/dash", "sh -c exec.sh", "dash"),
        (BUSYBOX, "sh /run.sh", "run"),
        (BUSYBOX, "busybox sh /run.sh", "run"),
        (BUSYBOX, "/bin/busybox httpd -f", "httpd"),
        (BUSYBOX, "busybox", "busybox"),
        ("/usr/bin/perl", "perl -w -MFoo::Bee -I lib /x/report.pl", "report"),
        ("/usr/bin/perl", "perl -ne print x.pl", "perl"),
        ("/usr/bin/ruby3.1", "ruby3.1 -r ./x /srv/app/bin/sidekiq", "sidekiq"),
        ("/usr/bin/php8.2", "php8.2 -d a=b artisan queue:work", "artisan"),
        ("/usr/sbin/php-fpm8.2", "php-fpm: pool www", "php-fpm8.2"),
        ("/usr/share/dotnet/dotnet", "dotnet /app/Shop.Api.dll", "Shop.Api"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_program_of_a_command_line(exe: str, command_line: str, name: str) -> None:
    assert program_of(exe, command_line.split(), {}).name == name


@pytest.mark.parametrize(
    ("exe", "title", "name"),
    [
        (PYTHON, "gunicorn: worker [shop.wsgi:application]", "shop"),
        (PYTHON, "gunicorn: master [shop]", "shop"),
        (PYTHON, "[celeryd: worker@host:MainProcess]", "python3.11"),
        (PYTHON, "celeryd: worker@host:MainProcess", "celeryd"),
        (NODE, "next-server (v14.1.0)", "next-server"),
        (NODE, "node /app/server.js", "server"),
        (NODE, "PM2 v5.3.0: God Daemon (/root/.pm2)", "node"),
    ],
)
def test_a_process_that_rewrote_its_title(exe: str, title: str, name: str) -> None:
    assert program_of(exe, [title, "", ""], {}).name == name


@pytest.mark.parametrize(
    ("archive", "program"),
    [
        ("/opt/shop-1.2.3.jar", Program("shop", "1.2.3")),
        ("shop-api-2.0.1-SNAPSHOT.jar", Program("shop-api", "2.0.1-SNAPSHOT")),
        ("shop_v7.war", Program("shop", "7")),
        ("shop-2024.11.03+build.5.jar", Program("shop", "2024.11.03+build.5")),
        ("log4shell-fix.jar", Program("log4shell-fix")),
        ("kafka3.jar", Program("kafka3")),
    ],
)
def test_an_archives_version_is_not_part_of_its_name(archive: str, program: Program) -> None:
    assert program_of(JAVA, ["java", "-jar", archive], {}) == program


def test_npm_names_node_programs_only() -> None:
    environment = {"npm_package_name": "@acme/shop", "npm_package_version": "4.5.6"}
    assert program_of(NODE, ["node", "server.js"], environment) == Program("@acme/shop", "4.5.6")
    assert program_of("/usr/bin/esbuild", ["esbuild"], environment) == Program("esbuild")


_EXECUTABLES = [
    "python3",
    "bash",
    "perl",
    "ruby",
    "php",
    "lua",
    "node",
    "deno",
    "java",
    "dotnet",
    "busybox",
    "x",
]
_ARGUMENTS = st.text(max_size=20) | st.sampled_from(
    [
        "-m",
        "-c",
        "-jar",
        "--",
        "-",
        "-mx",
        "gunicorn",
        "-A",
        "--app",
        "a:b",
        "x.py",
        "-I",
        "[",
        "sh",
        "/",
        "..",
        "@x",
        "gunicorn: x [",
        "a-" * 3000,
        "1." * 2000,
        "\0\udc80",
    ]
)


@given(st.sampled_from(_EXECUTABLES), st.lists(_ARGUMENTS, max_size=8))
def test_no_command_line_breaks_it(executable: str, arguments: list[str]) -> None:
    assert program_of(f"/bin/{executable}", arguments, {}).name


def test_each_interpreter_is_recognised_by_its_usual_executables() -> None:
    usual = ["python3.13t", "ash", "perl5.36.0", "ruby", "php", "lua5.4", "nodejs", "deno", "java", "dotnet"]
    for interpreter, executable in zip(INTERPRETERS, usual, strict=True):
        assert interpreter.executable.fullmatch(executable)
    assert not any(each.executable.fullmatch("pythonista") for each in INTERPRETERS)


@pytest.mark.parametrize(
    ("comm", "name"),
    [
        ("kworker/0:1-events", "kworker"),
        ("kworker/u8:3-writeback", "kworker"),
        ("kworker/R-rcu_gp", "kworker"),
        ("ksoftirqd/11", "ksoftirqd"),
        ("migration/0", "migration"),
        ("kswapd0", "kswapd"),
        ("jbd2/vda1-8", "jbd2"),
        ("irq/24-ACPI:Ged", "irq"),
        ("scsi_eh_12", "scsi_eh"),
        ("kdamond.0", "kdamond"),
        ("rcu_preempt", "rcu_preempt"),
        ("42", "42"),
        ("/x", "/x"),
        ("", ""),
    ],
)
def test_kernel_threads_lose_their_number(comm: str, name: str) -> None:
    assert base_name(comm) == name
