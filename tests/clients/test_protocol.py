"""clients/js/src/protocol.ts is what the server says, and TypeScript that means it."""

from __future__ import annotations

from pathlib import Path

from tests.support.process import ROOT, atrium, running

CLIENTS = ROOT / "clients"
SCRIPT = CLIENTS / "js/scripts/protocol.mjs"
MISUSED = """
import type { Events } from "MODULE";
type Chat = Events["/chat"];
export const join: Chat["sends"]["join"]["payload"] = { session_id: "s", after_seq: null };
export const text = (message: Chat["hears"]["message"]): string => message.content;
export const seq = (ack: Chat["sends"]["message"]["ack"]): number => ack.seq;
export const rows: Events["/copilot"]["asked"]["request_api"]["answer"] = { data: [{ a: 1 }] };
export const any = (told: Events["/trading"]["hears"]["*"]): number | undefined => told.conflated;
// @ts-expect-error there is no such field
export const more: Chat["sends"]["join"]["payload"] = { session_id: "s", more: 1 };
// @ts-expect-error it is required
export const less: Chat["sends"]["join"]["payload"] = {};
// @ts-expect-error there is no such event
export type None = Chat["sends"]["no_such_event"];
// @ts-expect-error failures reject
export const ok = (ack: Chat["sends"]["message"]["ack"]): boolean => ack.ok;
"""


async def document(folder: Path) -> str:
    environ = {"DEBUG": "true", "DATA_DIR": str(folder), "CONFIG_DIR": str(ROOT / "config")}
    async with atrium("asyncapi", cwd=folder, **environ) as server:
        assert await server.finish() == 0, server.output
        return server.output


async def test_the_types_are_current(tmp_path: Path) -> None:
    path, said = tmp_path / "asyncapi.json", await document(tmp_path)
    path.write_text(said)
    async with running("node", SCRIPT, "--check", path) as script:
        assert await script.finish() == 0, script.output
    path.write_text(said.replace('"is_typing"', '"is_writing"'))
    async with running("node", SCRIPT, "--check", path) as script:
        assert await script.finish() == 1
        assert "npm run protocol" in script.output


async def test_no_document_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "none.json").touch()
    async with running("node", SCRIPT, "--check", tmp_path / "none.json") as script:
        assert await script.finish() == 1


async def test_the_types_mean_what_the_server_says(tmp_path: Path) -> None:
    (tmp_path / "use.ts").write_text(MISUSED.replace("MODULE", str(CLIENTS / "js/src/protocol.ts")))
    options = (
        "--noEmit --strict --exactOptionalPropertyTypes --target es2022 --module esnext --moduleResolution bundler"
    )
    compiler = CLIENTS / "node_modules/.bin/tsc"
    only = ("--allowImportingTsExtensions", "--types", "", "--lib", "es2022,dom", tmp_path / "use.ts")
    async with running(compiler, *options.split(), *only) as script:
        assert await script.finish() == 0, script.output
