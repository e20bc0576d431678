# The only door: what people, CI and the README use. `make help` lists the targets.
#
# Each target makes the virtual environment it needs by itself. A stage is done again only when its input or
# its recipe has changed; a run that must be done again is moved aside, never deleted. What a failing command has
# written stays (a diagnosis, a report); a stage counts as done only when its command has ended well.

PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
# Where pip finds the CPU build of torch; empty where pip was told of wheels of its own.
# For a CUDA build (several GB): make TORCH_INDEX= demo
TORCH_INDEX ?= $(if $(PIP_FIND_LINKS)$(PIP_INDEX_URL)$(PIP_EXTRA_INDEX_URL),,https://download.pytorch.org/whl/cpu)
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
          $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

# Where things go and how much of everything; override on the command line: make dataset EPISODES=5000
DATA     ?= data/mvp
RUNS     ?= runs
REPORT   ?= report
# A preset or a TOML file, with changes: make dataset WORLD=m600:protected_zone_m=50 (`skyclone worlds`)
WORLD    ?=
COLLECT  ?= --episodes $(EPISODES) $(if $(WORLD),--world $(WORLD))
EPISODES ?= 1000
# Each model is trained by its own recipe (train/cloning/recipes.toml).
MODEL    ?= thresholds
TRAIN    ?= --model $(MODEL)
# ppo, or analytic: the gradient through the world, exact and faster
METHOD   ?= ppo
FINETUNE ?= --method $(METHOD) --aircraft 20,40,60 $(if $(filter ppo,$(METHOD)),--steps $(PPO_STEPS))
PPO_STEPS ?= 16000000
EVALUATE ?= --scenarios 200 $(if $(WORLD),--world $(WORLD))
SKYCLONE := $(BIN)/skyclone

.DEFAULT_GOAL := help
.PHONY: help install demo all dataset train-bc finetune evaluate ppo-dense any-traffic robust filtered smoke \
        test test-slow test-numeric test-signals bench lint types wheel docs clean FORCE
.PRECIOUS: $(DATA)/README.md

help:  ## say what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "No $(PYTHON) here. skyclone needs Python 3.11, 3.12 or 3.13; if yours \
	has another name: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): torch and what skyclone needs (a minute or two)" >&2
	@$(PIP) torch
	@$(PIP) -e .
	@$(BIN)/python -m skyclone.collect.flying.compiled
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	@echo "Installing the developers' tools into $(VENV)" >&2
	@$(PIP) -e '.[dev,pettingzoo,bluesky]'
	@touch $@

# d3rlpy pins a gymnasium of its own (1.0.0) and works with ours: without its dependencies, which follow by hand.
# So does RLlib (1.2.2): of `ray[rllib]` by hand what Ray itself does not need (dm-tree, lz4, ormsgpack).
$(VENV)/.slow: $(VENV)/.developer
	@echo "Installing what only slow tests need into $(VENV): Ray, d3rlpy, Stable-Baselines3, TorchRL, Rerun, ..." >&2
	@$(PIP) -e '.[ray,tensordict]' fastparquet structlog colorama dataclasses-json scikit-learn gym_notices
	@$(PIP) stable-baselines3 torchrl supersuit dm-tree lz4 ormsgpack rerun-sdk==0.41.0
	@$(PIP) --no-deps d3rlpy==2.8.1 gym==0.26.2
	@touch $@

# LeRobot in an environment that sees what is in ours, and adds only what its reader of datasets imports (no cameras,
# no motors). It imports torchvision for pictures, of which we have none. Newer ones load only beside the build of torch
# that they were compiled for, several GB; 0.15.2 does without its compiled part.
$(VENV)-lerobot/.installed: $(VENV)/.developer
	@echo "Installing into $(VENV)-lerobot: LeRobot's reader, beside skyclone" >&2
	@$(PYTHON) -m venv --without-pip $(VENV)-lerobot
	@place='import sysconfig; print(sysconfig.get_path("purelib"))'; \
		$(BIN)/python -c "$$place" > $$($(VENV)-lerobot/bin/python -c "$$place")/beside.pth
	@$(BIN)/python -m pip --python $(VENV)-lerobot/bin/python install --quiet --disable-pip-version-check \
		'datasets>=4,<5' 'huggingface-hub<0.36' 'av<16' 'accelerate>=1.10,<2'
	@$(BIN)/python -m pip --python $(VENV)-lerobot/bin/python install --quiet --disable-pip-version-check --no-deps \
		lerobot==0.4.4 torchvision==0.15.2
	@touch $@

install: $(VENV)/.installed  ## make the virtual environment

# --- the four stages, at full size ----------------------------------------------------------------

dataset: $(DATA)/README.md  ## collect the teacher's dataset (EPISODES=1000)
train-bc: $(RUNS)/clone/.done  ## clone the teacher from the dataset (MODEL=attention-additive)
finetune: $(RUNS)/tuned/.done  ## fine-tune the clone online (METHOD=ppo or analytic)
evaluate: $(REPORT)/.done  ## compare none, mvp, the clone and the fine-tuned one; write a report
all: evaluate  ## the four stages in a row

# A recipe is kept in a file that changes only when the recipe does.
keep = @mkdir -p $(dir $@) && { echo '$(1)' | cmp -s - $@ || echo '$(1)' > $@; }
# A run begun before its input or its recipe changed makes room, finished or not; any other goes on (--resume).
make_room = @for input in $^; do if [ $$input -nt $(@D)/config.json ] && [ -e $(@D) ]; then \
	old=$(@D).$$(date +%Y%m%d-%H%M%S); mv $(@D) $$old; echo "Moved $(@D) to $$old" >&2; fi; done

$(DATA).recipe: FORCE ; $(call keep,$(COLLECT))
$(RUNS)/clone.recipe: FORCE ; $(call keep,$(TRAIN))
$(RUNS)/tuned.recipe: FORCE ; $(call keep,$(FINETUNE))
$(REPORT).recipe: FORCE ; $(call keep,$(EVALUATE))

$(DATA)/README.md: $(DATA).recipe | $(VENV)/.installed
	$(SKYCLONE) collect --out $(DATA) $(COLLECT) || { touch -c -t 197001020000 $@; exit 1; }  # left, not done
	@touch $@

$(RUNS)/clone/.done: $(DATA)/README.md $(RUNS)/clone.recipe | $(VENV)/.installed
	$(make_room)
	$(SKYCLONE) train --data $(DATA) --out $(RUNS)/clone $(TRAIN) --resume
	@touch $@

$(RUNS)/tuned/.done: $(RUNS)/clone/.done $(RUNS)/tuned.recipe | $(VENV)/.installed
	$(make_room)
	$(SKYCLONE) finetune --from $(RUNS)/clone --out $(RUNS)/tuned $(FINETUNE) --resume
	@touch $@

$(REPORT)/.done: $(RUNS)/tuned/.done $(REPORT).recipe | $(VENV)/.installed
	$(SKYCLONE) evaluate $(RUNS)/clone $(RUNS)/tuned $(EVALUATE) --out $(REPORT)
	@touch $@
	@echo "Report: $(abspath $(REPORT)/report.html)"

# --- dense traffic: what PPO makes of a clone that knows it ---------------------------------------

DENSE := 20 40 60
DENSE_DATA := $(DENSE:%=data/dense-%)
EPISODES_20 ?= 500
EPISODES_40 ?= 300
EPISODES_60 ?= 200

ppo-dense: $(RUNS)/ppo-dense/.done  ## from nothing: collect dense traffic, clone, PPO for 20, 40 and 60 aircraft

$(DENSE_DATA:%=%/README.md): data/dense-%/README.md: | $(VENV)/.installed
	$(SKYCLONE) collect --out $(@D) --aircraft $* --teacher mvp:margin=1.15 --episodes $(EPISODES_$*) \
		|| { touch -c -t 197001020000 $@; exit 1; }
	@touch $@

$(RUNS)/dense/.done: $(DENSE_DATA:%=%/README.md) | $(VENV)/.installed
	$(make_room)
	$(SKYCLONE) train $(DENSE_DATA:%=--data %) --out $(RUNS)/dense --model pairwise --observation ego:intruders=12 \
		--epochs 2 --resume
	@touch $@

$(RUNS)/ppo-dense/.done: $(RUNS)/dense/.done | $(VENV)/.installed
	$(make_room)
	$(SKYCLONE) finetune --from $(RUNS)/dense --out $(RUNS)/ppo-dense --method ppo --aircraft 20,40,60 \
		--steps $(PPO_STEPS) --resume
	@touch $@

# --- the policies that ship: for any traffic, and then for what aircraft know of each other ----------

# By turns the reference sector at three densities, and all that may be met: each stage from the one before.
PADS := pads=0.1:inside=0.1:shared=0.1
NOISE := noise:position_m=5:velocity_mps=0.5:latency_s=1:reception=0.8
ANY_0 = --aircraft 20,40,60 --steps 8000000 --gate-every 300 --seed 1
ANY_1 = --aircraft 8,20,40 --steps 4500000 --gate-every 500 --seed 1 --reward detour:path=1.3 \
	--scenario mix:sector=0.45:$(PADS):hover=0.1:circle=0.1:arrivals=0.05
ANY_2 = --aircraft 20,40,60 --steps 3000000 --gate-every 250 --seed 2 --reward detour:path=1.3 --lr 2e-4 \
	--scenario mix:sector=0.7:$(PADS)
ANY_3 = --aircraft 8,20,40 --steps 2500000 --gate-every 300 --seed 3 --reward detour:path=1.3 --lr 1.5e-4 \
	--scenario mix:sector=0.45:$(PADS):hover=0.1:circle=0.1:arrivals=0.05
ANY_4 = --aircraft 8,20,40 --steps 2500000 --gate-every 500 --seed 4 --reward detour:path=1.3:yielding=300 --lr 2e-4 \
	--scenario mix:sector=0.45:converging=0.2:pads=0.1:inside=0.1:hover=0.1:circle=0.05
ANY_5 = --aircraft 20,40,60 --steps 3500000 --gate-every 500 --seed 5 --reward detour:path=1.4:yielding=300 --lr 2e-4 \
	--scenario mix:sector=0.72:converging=0.07:pads=0.07:inside=0.07:shared=0.07
ANY_6 = --aircraft 20,40 --steps 2500000 --gate-every 500 --seed 6 --reward detour:path=1.4:yielding=300 --lr 1.5e-4 \
	--scenario mix:sector=0.55:converging=0.06:pads=0.07:inside=0.07:shared=0.05:hover=0.05:circle=0.1:arrivals=0.05
ANY_7 = --aircraft 20,40 --steps 1600000 --gate-every 2000 --gate-scenarios 512 --seed 7 \
	--reward detour:path=1.5:yielding=300 --lr 1.2e-4 \
	--scenario mix:sector=0.55:converging=0.06:pads=0.07:inside=0.07:shared=0.05:hover=0.05:circle=0.1:arrivals=0.05
ROBUST_1 = --aircraft 20,40 --steps 4000000 --gate-every 1000 --gate-scenarios 64 --seed 1 \
	--reward detour:margin=1.25:path=2.5:yielding=300 --surveillance $(NOISE) \
	--scenario mix:sector=0.62:converging=0.07:pads=0.08:inside=0.08:shared=0.05:hover=0.1
ROBUST_2 = --aircraft 20,40 --steps 2200000 --gate-every 1000 --gate-scenarios 64 --seed 2 \
	--reward detour:margin=1.32:path=2.5:yielding=300 --surveillance $(NOISE) \
	--scenario mix:sector=0.7:converging=0.07:pads=0.08:inside=0.1:hover=0.05
FILTERED = --aircraft 20,40 --steps 2400000 --gate-every 2000 --gate-scenarios 64 --seed 3 \
	--reward detour:margin=1.28:path=2.5:yielding=300 \
	--surveillance $(NOISE):between=filter,remote-id:between=filter,$(NOISE):error_s=60:between=filter \
	--scenario mix:sector=0.7:converging=0.07:pads=0.08:inside=0.1:hover=0.05

any-traffic: $(RUNS)/any-traffic-7/.done  ## from nothing: how pretrained:tuned was made (55 minutes)
# What ships is `last`: a gate of 64 scenarios of a mixture does not show what 300 fresh ones do.
robust: $(RUNS)/robust-2/.done  ## from nothing: how pretrained:robust was made (an hour)
filtered: $(RUNS)/filtered/.done  ## from nothing: how pretrained:filtered was made (ten minutes more)

# A stage: its run, the run it begins from, which weights of that, and its options.
define stage
$(RUNS)/$(1)/.done: $(RUNS)/$(2)/.done | $(VENV)/.installed ; $$(make_room)
	$$(SKYCLONE) finetune --from $$(<D)$(3) --out $$(@D) --method analytic --resume $$($(4)) && touch $$@
endef
LAST := /last.safetensors
$(eval $(call stage,any-traffic-0,dense,,ANY_0))
$(eval $(call stage,any-traffic-1,any-traffic-0,,ANY_1))
$(eval $(call stage,any-traffic-2,any-traffic-1,,ANY_2))
$(eval $(call stage,any-traffic-3,any-traffic-2,,ANY_3))
$(eval $(call stage,any-traffic-4,any-traffic-3,,ANY_4))
$(eval $(call stage,any-traffic-5,any-traffic-4,$(LAST),ANY_5))
$(eval $(call stage,any-traffic-6,any-traffic-5,$(LAST),ANY_6))
$(eval $(call stage,any-traffic-7,any-traffic-6,$(LAST),ANY_7))
$(eval $(call stage,robust-1,any-traffic-5,$(LAST),ROBUST_1))
$(eval $(call stage,robust-2,robust-1,$(LAST),ROBUST_2))
$(eval $(call stage,filtered,robust-2,$(LAST),FILTERED))

# --- from nothing to a report in five to ten minutes ----------------------------------------------------

# Its sizes stand in demo.py: it needs no make, and runs on Windows too.
demo: $(VENV)/.installed  ## all four stages, small but real, in five to ten minutes on two cores
	@$(SKYCLONE) demo --out demo

smoke: $(VENV)/.installed  ## in under a minute: do all parts fit together?
	@$(SKYCLONE) smoke

# --- for developers -------------------------------------------------------------------------------

# Two workers begin at either half and take from each other what is left: files stay together, neither is idle.
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist worksteal
# torch calculates as processors without these extensions do; the numeric tests are run under each.
CAPABILITIES ?= avx2 default
# What depends on the processor's arithmetic, from the geometry of two aircraft to the steps of training; not BlueSky's
# (it takes seconds to import), nor that a run goes on with the bits that it has saved.
NUMERIC := $(addprefix tests/,collect/airspace collect/arithmetic collect/flying collect/kernels collect/teachers \
	datasets/traffic evaluate/attention evaluate/deployment/test_rounding.py evaluate/metrics train/cloning/test_heldout.py \
	train/cloning/test_update.py train/finetuning/test_analytic.py train/finetuning/test_ppo_update.py train/networks \
	train/test_policy.py train/test_pretrained.py) \
	--ignore tests/collect/arithmetic/test_compiling.py \
	--deselect tests/collect/airspace/test_conflicts.py::test_hand_made_geometries_as_bluesky \
	--deselect tests/train/networks/test_variants.py::test_killed_in_mid_epoch_and_resumed_ends_bit_equal

test: $(VENV)/.developer  ## the default test suite (about three minutes)
	$(PYTEST)

# Many of these wait for processes that they start and kill: three at once leave no core idle. The file whose test takes
# longest, in waiting for Ray, comes first.
SLOW_FIRST := tests/evaluate/test_cli.py
SLOW = $(SLOW_FIRST) $(filter-out $(SLOW_FIRST),$(shell grep -rl --include='test_*.py' 'mark\.slow' tests))
test-slow: $(VENV)/.slow $(VENV)-lerobot/.installed  ## the slow tests, apart
	$(subst -n 2,-n 3,$(PYTEST)) -m slow $(SLOW)

test-numeric: $(VENV)/.developer  ## the numeric tests again, as processors with fewer instructions calculate
	for each in $(CAPABILITIES); do ATEN_CPU_CAPABILITY=$$each $(PYTEST) $(NUMERIC) || exit 1; done

test-signals: $(VENV)/.developer  ## the tests that press Ctrl-C again, as a background job of a script
	trap '' INT; $(PYTEST) -m 'signals and not slow'

# Beside imitation, which wants an older Stable-Baselines3 (2.2) and Gymnasium (0.29) than we have: in an environment of
# its own.
BESIDE := training
$(VENV)-bench/.installed: $(VENV)/.developer
	@echo "Installing into $(VENV)-bench: imitation, beside skyclone" >&2
	@$(PYTHON) -m venv $(VENV)-bench
	@$(subst $(BIN),$(VENV)-bench/bin,$(PIP)) torch numba pydantic scipy pyarrow h5py click filelock tqdm safetensors jinja2 \
		tensorboard
	@$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check stable-baselines3 imitation==1.0.1
	@$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

bench: $(VENV)/.slow $(VENV)-bench/.installed  ## speed, as ratios in one run, beside BlueSky, SB3 and imitation
	for each in $(BESIDE); do OMP_NUM_THREADS=1 $(VENV)-bench/bin/python tests/benchmarks/bench_$$each.py || exit 1; done
	for bench in $(filter-out $(BESIDE:%=bench_%.py),$(notdir $(wildcard tests/benchmarks/bench_*.py))); do \
		OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/$$bench || exit 1; done

lint: $(VENV)/.developer  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.developer  ## mypy
	$(BIN)/mypy cli.py demo.py smoke.py collect datasets train evaluate

docs: $(VENV)/.developer  ## build docs/ into site/, which opens from the disk
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Documentation: $(abspath site/index.html)"

wheel: $(VENV)/.developer  ## build the wheel and test it from another folder
	rm -rf dist && $(BIN)/python -m build --wheel --outdir dist . >/dev/null
	$(BIN)/python tests/wheel.py dist/*.whl

clean:  ## remove leftovers of builds and tests (never datasets, runs or reports)
	rm -rf build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
