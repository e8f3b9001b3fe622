"""A LightGBM model from anywhere: our folder, LightGBM's text, or a pickle from a notebook."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explain.attribution import Outputs, outputs_of
from explain.model_folder import INFO_FILE, load_booster, read_info
from explain.model_text import is_whole
from explain.regimes import Dimension
from lake.errors import ModelNotFoundError, ModelNotReadableError, one_line

if TYPE_CHECKING:
    import lightgbm as lgb

_TEXT_START = b"tree\n"


@dataclass(frozen=True, slots=True)
class ExplainableModel:
    """A model and what is known of it.

    Attributes:
        booster: The model itself, with the trees that its `predict` uses and no others.
        model_version: As in our `model.json`; else `<file name>-<first 12 digits of the SHA-256>` of the
            model's text.
        features: Names in the order of the model's inputs.
        outputs: Classes and kind.
        categories: By categorical feature its values in the order of their codes, where pandas had made
            them; a categorical feature that is not here takes the codes themselves.
        regimes: Cut points of training; None for a model that is not ours.
    """

    booster: lgb.Booster
    model_version: str
    features: tuple[str, ...]
    outputs: Outputs
    categories: dict[str, tuple[Any, ...]]
    regimes: tuple[Dimension, ...] | None


def load_model(path: Path, *, allow_pickle: bool = False, classes: Sequence[str] = ()) -> ExplainableModel:
    """Load a model for explanation.

    Of a model in memory with a `best_iteration` (a pickle after early stopping), the trees after it are
    dropped, as LightGBM's `predict` and `save_model` do; so predictions and contributions are of the same
    trees. A text file is used as it is: what its `save_model` left out is not known, and what it kept counts.

    Args:
        path: A model folder of ours, a text file of `Booster.save_model`, or a pickle (also by joblib) of an
            `LGBMClassifier`, `LGBMRegressor`, `LGBMRanker` or `Booster`.
        allow_pickle: Unpickling runs whatever code the file holds, so it has to be asked for.
        classes: Names of the classes in the order of the outputs; by default those of `model.json` or
            the pickle's `classes_`, else 0, 1 ...

    Raises:
        ModelNotFoundError: There is nothing at the path.
        ModelNotReadableError: It is no such model, or a pickle that was not allowed.
        SchemaMismatchError: The model does not have as many classes.
    """
    if path.is_dir():
        return _ours(path, classes)
    if path.name == "model.txt" and (path.parent / INFO_FILE).is_file():
        return _ours(path.parent, classes)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelNotFoundError(f"there is no model at {path}") from error
    if content.replace(b"\r\n", b"\n", 1).startswith(_TEXT_START):
        return _explainable(path, _from_text(path, content), classes)
    if content[:1] == b"{":
        raise ModelNotReadableError(
            f"{path} is JSON, which LightGBM writes but does not read: save it with Booster.save_model"
        )
    if not allow_pickle:
        raise ModelNotReadableError(
            f"{path} is no LightGBM text file. If it is a pickle: unpickling runs any code that it holds, so "
            "it is done only with --allow-pickle, for a file whose maker you trust; "
            "Booster.save_model writes a text file that is safe"
        )
    booster, named = _from_pickle(path)
    return _explainable(path, booster, classes or named)


def _ours(folder: Path, classes: Sequence[str]) -> ExplainableModel:
    info = read_info(folder)
    booster = load_booster(folder, info)
    if tuple(booster.feature_name()) != info.feature_names:
        raise ModelNotReadableError(f"{folder}: features of the model and of {INFO_FILE} differ")
    outputs = outputs_of(booster, classes or info.classes)
    return ExplainableModel(
        booster, info.model_version, info.feature_names, outputs, _categories(booster), info.regimes
    )


def _explainable(path: Path, booster: lgb.Booster, classes: Sequence[str]) -> ExplainableModel:
    digest = hashlib.sha256(booster.model_to_string().encode()).hexdigest()
    return ExplainableModel(
        booster,
        f"{path.stem}-{digest[:12]}",
        tuple(booster.feature_name()),
        outputs_of(booster, classes),
        _categories(booster),
        None,
    )


def _from_text(path: Path, content: bytes) -> lgb.Booster:
    import lightgbm as lgb

    # Windows tools may have changed the ends of lines, and LightGBM counts bytes.
    text = content.replace(b"\r\n", b"\n")
    if not is_whole(text):
        raise ModelNotReadableError(f"{path} cannot be read as a LightGBM model: it was cut off or changed")
    try:
        return lgb.Booster(model_str=text.decode())
    except (lgb.basic.LightGBMError, UnicodeDecodeError) as error:
        raise ModelNotReadableError(
            f"{path} cannot be read as a LightGBM model: {one_line(error)}"
        ) from error


def _from_pickle(path: Path) -> tuple[lgb.Booster, tuple[str, ...]]:
    import joblib
    import lightgbm as lgb
    from sklearn.exceptions import NotFittedError

    try:
        found = joblib.load(path)
    except Exception as error:  # unpickling runs foreign code, which may raise anything
        raise ModelNotReadableError(f"{path} cannot be unpickled: {one_line(error)}") from error
    classes: tuple[str, ...] = ()
    if isinstance(found, lgb.LGBMModel):
        try:
            booster = found.booster_
        except NotFittedError as error:
            raise ModelNotReadableError(f"{path}: the {type(found).__name__} was never fitted") from error
        if isinstance(found, lgb.LGBMClassifier):
            classes = tuple(str(name) for name in found.classes_)
    elif isinstance(found, lgb.Booster):
        booster = found
    else:
        name = type(found).__name__
        hint = ": pickle its LightGBM step alone, and give the data as that step gets it"
        raise ModelNotReadableError(
            f"{path} holds a {name}, not a LightGBM model{hint if hasattr(found, 'predict') else ''}"
        )
    # Up to best_iteration, as save_model writes it.
    return lgb.Booster(model_str=booster.model_to_string()), classes


def _categories(booster: lgb.Booster) -> dict[str, tuple[Any, ...]]:
    """Categories of pandas by feature: LightGBM keeps them in the order of the columns, without names."""
    if not booster.pandas_categorical:
        return {}
    listed = booster.params.get("categorical_feature") or []
    names = booster.feature_name()
    found = [names[index] for index in sorted(listed)] if all(isinstance(i, int) for i in listed) else []
    if len(found) != len(booster.pandas_categorical):
        raise ModelNotReadableError(
            f"the model has {len(booster.pandas_categorical)} pandas categories for {len(found)} categorical "
            "features: which belongs to which is not known"
        )
    return {name: tuple(values) for name, values in zip(found, booster.pandas_categorical, strict=True)}
