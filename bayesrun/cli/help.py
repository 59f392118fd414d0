"""The text of `--help`: how to call, what can be chosen, and the config that results.

Hydra's own help loads every config of every group, twice; this lists file names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from bayesrun.errors import did_you_mean, fail

_HEAD = """\
bayesrun runs Bayesian models from YAML files and checks their posteriors.

  python -m bayesrun model=switchpoint                             one run
  python -m bayesrun -m model=switchpoint model.priors.early_rate.lam=0.5,1,2,4
                                                                   a sweep
  python -m bayesrun model=switchpoint sampler.draws=2000 seed=1   any key can be set
  python -m bayesrun --config-dir DIR model=mine                   your own YAML, DIR/model/mine.yaml
  python -m bayesrun list models                                   what there is: data, samplers, families, tasks, ...
  python -m bayesrun describe nuts                                 its keys, with defaults, a line each
  python -m bayesrun new model rows.csv                            YAML for a table of your own, to begin with
  python -m bayesrun schema model                                  JSON Schema of a model's YAML, for editors
  python -m bayesrun model=switchpoint --cfg job                   show the config, do not run
  python -m bayesrun task=prior model=switchpoint 'expect={disasters: [0, 20]}'
                                                                   what the prior implies, and if that is plausible
  python -m bayesrun task=predict run=last predict.data=new.csv    new rows from a finished run
  python -m bayesrun task=extend run=last sampler.draws=+2000      more draws for a finished run (or until_ess=4000)
  python -m bayesrun task=effects run=last effects.of=x            what a predictor does to the outcome
  python -m bayesrun task=hypothesis run=last 'mu > 0' 'mu - tau'  how probable statements are
  python -m bayesrun task=compare 'runs=[FOLDER,FOLDER]'           which run predicts best
  python -m bayesrun task=sbc model=eight_schools                  is the sampler calibrated? fits to simulated data
  python -m bayesrun task=verify                                   known posteriors, sampled on this machine
  python -m bayesrun task=kfold run=last kfold.k=5                 how well unseen rows are predicted (or kfold.by=g)
  python -m bayesrun task=loo run=FOLDER                           exact leave-one-out where importance sampling fails
  python -m bayesrun task=rerun run=FOLDER                         the same run again: are the draws the same?
  python -m bayesrun task=recover run=FOLDER                       complete the run folder of a killed run
  python -m bayesrun task=figures run=FOLDER                       its figures, model graph and report again
  python -m bayesrun task=report run=FOLDER                        the report alone
  python -m bayesrun task=expand model=regression                  the declarative model behind a formula
  python -m bayesrun task=sync run=FOLDER                          send to tracking what is missing there
  python -m bayesrun task=ui                                       MLflow's pages on this machine
"""
_TAIL = """\
-q prints warnings and the verdict only, -v all of the log; output=json prints the end of a run, a sweep or a task,
`list` and `describe` as JSON; --shell-completion install=bash (zsh, fish) prints what a shell needs to complete words.

Exit status: 0 finished (also `partial` by max_seconds); 1 config or data wrong, or jobs of a sweep failed;
2 unknown flag; 3 verdict `fail` with diagnostics.fail_run=true; 4 sampling failed; 130 interrupted (Ctrl-C);
143 terminated before the first draw (SIGTERM). HYDRA_FULL_ERROR=1 shows tracebacks; --hydra-help shows Hydra's flags.
"""


def help_text(config: DictConfig, folders: Sequence[Path]) -> str:
    """Return the help.

    Parameters
    ----------
    config
        The composed config, Hydra's node included.
    folders
        Config folders: the shipped one and the user's.
    """
    plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    parts = [_HEAD, "== Groups (choose with group=name) ==\n", _groups(folders)]
    parts += ["== Config (set with key.sub=value) ==\n", OmegaConf.to_yaml(plain), _TAIL]
    return "\n".join(parts)


def show_config(config: DictConfig, part: str, package: str | None, resolve: bool) -> str:
    """Return a composed config as YAML, as Hydra's `--cfg` does.

    Parameters
    ----------
    config
        The composed config, Hydra's node included.
    part
        `job`, `hydra` or `all`.
    package
        One key of it alone; null or `_global_` = all.
    resolve
        Whether interpolations are replaced by what they name.

    Raises
    ------
    UserError
        When there is no such key.
    """
    names = [str(k) for k in config if part == "all" or (k == "hydra") == (part == "hydra")]
    shown = OmegaConf.masked_copy(config, names)
    if package in (None, "_global_"):
        return OmegaConf.to_yaml(shown, resolve=resolve)
    found = OmegaConf.select(shown, str(package))
    if found is None:
        raise fail("--package", f"there is no '{package}'", did_you_mean(str(package), names))
    return OmegaConf.to_yaml(found, resolve=resolve) if OmegaConf.is_config(found) else f"{found}\n"


def _groups(folders: Sequence[Path]) -> str:
    found: dict[str, set[str]] = {}
    for folder in folders:
        for path in folder.rglob("*.yaml"):
            group = path.relative_to(folder).parent.as_posix()
            if group != "." and not group.startswith("hydra"):
                found.setdefault(group, set()).add(path.stem)
    return "".join(f"{group}: {', '.join(sorted(names))}\n" for group, names in sorted(found.items()))
