"""Whose cache it is: one that others may write could hold other pixels than the images'."""

import grp
import os
import pwd
import stat
from pathlib import Path

from pipeline.errors import UserError


def check_trusted(path: Path, uid: int) -> None:
    """Refuse a file or folder that another user than root and `uid` owns or may write.

    A folder with the sticky bit (/tmp) may be written by all: what lies in it cannot be replaced,
    and is looked at by itself. A group is nobody else when it has no other member, as the private
    groups that go with a umask of 002. What is not there is nobody's.

    Raises:
        UserError: who else may write it, and what to do.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    who = ""
    is_sticky = stat.S_ISDIR(found.st_mode) and bool(found.st_mode & stat.S_ISVTX)
    if found.st_uid not in (uid, 0) and uid != 0:
        who = f"belongs to {_name(found.st_uid)}"
    elif found.st_mode & stat.S_IWOTH and not is_sticky:
        who = "may be written by everybody"
    elif found.st_mode & stat.S_IWGRP and not is_sticky and (others := _others(found.st_gid, uid)):
        who = f"may be written by {others[0]} and whoever else is in its group"
    if who:
        raise UserError(
            f"images.cache_dir: {path} {who}, whose pixels would be trained on. Take the right "
            f"away (chmod go-w {path}), or set images.cache_dir to a folder of your own."
        )


def _others(gid: int, uid: int) -> list[str]:
    """The members of a group besides root and this user, as far as the machine knows them."""
    try:
        members = set(grp.getgrgid(gid).gr_mem)
    except KeyError:
        members = set()
    members |= {user.pw_name for user in pwd.getpwall() if user.pw_gid == gid}
    return sorted(members - {_name(uid), _name(0)})


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def check_cache_dir(cache_dir: Path) -> None:
    """`check_trusted` of a cache folder and of the files beside the caches in it."""
    for path in (cache_dir, cache_dir / "digests.json"):
        check_trusted(path, os.getuid())


def check_packed(packed_dir: Path) -> None:
    """`check_trusted` of one cache and of all files in it."""
    for path in (packed_dir, *(packed_dir.iterdir() if packed_dir.is_dir() else ())):
        check_trusted(path, os.getuid())
