# Each target is one plain command; all of them set up .venv first where it is missing, half made or out of date.

PYTHON ?= python3
ROOT ?=
export ROOT

.PHONY: .venv run demo test slow faults filesystems check

run: .venv  ## The service on ROOT, or on the folder that the settings name: make run ROOT=~/Videos
	@case "$$ROOT" in "~"|"~/"*) ROOT="$$HOME$${ROOT#?}" ;; esac; .venv/bin/sortd models fetch || echo 'going on without them: the built-in encoder serves'; exec .venv/bin/sortd run $${ROOT:+"$$ROOT"}

demo: .venv  ## A small library of made-up clips, taught and sorted before your eyes
	@.venv/bin/sortd demo

test: .venv  ## All that every change must pass, on up to four cores
	@.venv/bin/python -m pytest -n auto --maxprocesses 4 --dist worksteal

slow: .venv  ## The proofs that take minutes: full-size networks against the plain pipeline
	@.venv/bin/python -m pytest -m slow

faults: .venv  ## Every row of the fault matrix, each by its id; as root on Linux with strace it leaves none out
	@.venv/bin/python -m pytest -n 0 -m fault tests

FILESYSTEMS = xfsprogs btrfs-progs sshfs openssh-sftp-server mergerfs bindfs exfat-fuse exfatprogs ntfs-3g dosfstools \
  fusefat acl attr strace

filesystems: .venv  ## The service on ext4, xfs, btrfs, overlay, tmpfs and those by FUSE; as root on Linux, installs them by apt
	@apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(FILESYSTEMS) >/dev/null
	@.venv/bin/python -m pytest -n 0 -m filesystems tests/filesystems

check: .venv
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@.venv/bin/mypy

.venv: .venv/complete

# The stamp comes last, so a setting-up that was cut short is taken up again. What has no working pip is begun anew.
.venv/complete: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "sortd needs Python 3.11 or newer, as in: make PYTHON=python3.12 (tried: $(PYTHON))" >&2; exit 1; }
	@.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --editable '.[dev]'
	@touch $@
