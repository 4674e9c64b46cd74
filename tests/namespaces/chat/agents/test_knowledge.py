from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import ConfigError
from server.namespaces.chat.agents.knowledge import Entry, load


def test_headings_are_questions_and_what_follows_is_the_answer(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# Title\nignored\n\n## Second?\nIt is *two*.\n\n- a\n- b\n### deeper\nstays\n")
    (tmp_path / "a.md").write_text(
        "## 첫째?\n<!-- keywords: 하나, one; intent: COMPLAINT; action: HANDOVER -->\n\n답입니다.\n", encoding="utf-8"
    )
    (tmp_path / "notes.txt").write_text("## Not this\nno\n")
    assert load(tmp_path) == [
        Entry("a.md", "첫째?", "답입니다.", "하나, one", "COMPLAINT", "HANDOVER"),
        Entry("b.md", "Second?", "It is *two*.\n\n- a\n- b\n### deeper\nstays", "", "INFO_REQ", "CONTINUE"),
    ]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("# Only a title\n", "no Markdown file"),
        ("## Empty\n\n## Full\ntext\n", "'Empty' has no text"),
        ("## Q\n<!-- keyword: x -->\ntext\n", "'keyword: x' is none of action, intent, keywords"),
        ("## Q\n<!-- a remark -->\ntext\n", "'a remark' is none of"),
        ("## Q\n<!-- action: SHOUT -->\ntext\n", "'SHOUT' is neither"),
        (b"## \xff\xfe\ntext\n", "utf-8"),
    ],
)
def test_faults_name_the_file(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    (tmp_path / "a.md").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=complaint) as fault:
        load(tmp_path)
    assert str(tmp_path) in str(fault.value)


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Markdown file"):
        load(tmp_path / "missing")
