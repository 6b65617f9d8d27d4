"""SHA-256 of many files, remembered between runs as long as a file's stamp stays the same."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.files import write_whole
from pipeline.formats import file_digest, file_stamp


def file_digests(paths: list[Path], memory_path: Path) -> list[str]:
    """Digests in the order of `paths`; only files that may have changed are read."""
    memory = _recall(memory_path)
    names = [str(path.resolve()) for path in paths]
    stamps = [file_stamp(path) for path in paths]
    changed = [i for i, name in enumerate(names) if memory.get(name, ("",))[0] != stamps[i]]
    with ThreadPoolExecutor() as pool:  # hashing releases the GIL
        fresh = pool.map(file_digest, [paths[i] for i in changed])
        memory |= {names[i]: (stamps[i], digest) for i, digest in zip(changed, fresh, strict=True)}
    if changed:
        write_whole(memory_path, json.dumps(memory))
    return [memory[name][1] for name in names]


def _recall(memory_path: Path) -> dict[str, tuple[str, str]]:
    try:
        memory = json.loads(memory_path.read_text())
        return {name: (stamp, digest) for name, (stamp, digest) in memory.items()}
    except (FileNotFoundError, ValueError):  # none yet, or damaged: read every file anew
        return {}
