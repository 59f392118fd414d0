"""Axes that have one tick object an axis, whatever the number of ticks, and measure it once a layout.

Matplotlib makes five artists for each tick, copies them from those of the first one, and measures all labels eight
times a drawing: half of the processor time of a figure with many small axes. Here one tick is moved from place to
place. What is drawn is the same, pixel by pixel (`tests/unit/figures/test_light_axes.py`). An axis with more than plain
marks and labels on one side (a grid, minor ticks, labels with properties of their own) is drawn by Matplotlib's code.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick, XAxis, YAxis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox, Transform

_ON_FIRST_SIDE = {("tick1On", True), ("tick2On", False), ("label1On", True), ("label2On", False)}  # below or left
_Axis: Any = Axis  # whose stubs leave out what is not public
_Axes: Any = Axes


class _LightAxis(_Axis):  # type: ignore[misc]
    """An axis whose ticks share one object as long as they are plain."""

    majorTicks: list[Tick]
    minorTicks: list[Tick]
    _is_plain = True
    _places: list[tuple[float, str]]
    _found_for: tuple[Any, ...] | None = None
    _sizes: dict[str, Any]

    def reset_ticks(self) -> None:
        """Begin without ticks; Matplotlib makes one in each list to throw it away later."""
        self.majorTicks, self.minorTicks = [], []
        self._found_for, self._sizes = None, {}

    def set_ticklabels(self, *arguments: Any, **options: Any) -> Any:
        """Label the ticks; from here on each has an object."""
        self._is_plain = False
        return super().set_ticklabels(*arguments, **options)

    def get_major_ticks(self, numticks: int | None = None) -> list[Tick]:
        """Return tick objects; whoever asks for all may change one of them, so that from here on each has its own."""
        if numticks is None and self._is_plain:
            self._is_plain = False
            super()._update_ticks()
        ticks: list[Tick] = super().get_major_ticks(numticks)
        return ticks

    def set_tick_params(self, *arguments: Any, **options: Any) -> None:
        """Change how ticks look: labels are measured anew."""
        self._sizes = {}
        super().set_tick_params(*arguments, **options)

    def _tick(self) -> Tick:
        """Return the only tick."""
        if not self.majorTicks:
            self.majorTicks.append(self._get_tick(major=True))
        return self.majorTicks[0]

    def _get_tick(self, major: bool) -> Tick:
        tick: Tick = super()._get_tick(major)
        if (self._major_tick_kw if major else self._minor_tick_kw).get("gridOn"):
            tick.set_clip_path(self.axes.patch)
        return tick

    def _get_ticks_position(self) -> Any:
        both = self._major_tick_kw, self._minor_tick_kw
        if self._is_plain and all(settings.items() >= _ON_FIRST_SIDE for settings in both):
            return 1
        self.get_major_ticks(1)
        self.get_minor_ticks(1)
        return super()._get_ticks_position()

    def _state(self) -> tuple[Any, ...]:
        """Return what places and labels of the ticks depend on."""
        of = self.major
        return (*self.get_view_interval(), *self.axes.bbox.bounds, of.locator, of.formatter)

    def _update_ticks(self) -> Any:
        if self._is_plain and not isinstance(self.minor.locator, NullLocator):
            self._is_plain = len(self.get_minorticklocs()) == 0
        if not self._is_plain:
            return super()._update_ticks()
        state = self._state()
        if state != self._found_for:
            self._places, self._found_for = self._in_view(), state
        if not self._places:
            return []
        tick = self._tick()
        if any(artist.get_visible() for artist in (tick.gridline, tick.tick2line, tick.label2)):
            self._is_plain = False
            return super()._update_ticks()
        return [tick]

    def _in_view(self) -> list[tuple[float, str]]:
        """Return places and labels of the ticks between the limits, with Matplotlib's tolerance at the ends."""
        locs = self.get_majorticklocs()
        labels = self.major.formatter.format_ticks(locs)
        if not len(locs):
            return []
        transform: Transform = self.get_transform()
        low, high = sorted(transform.transform(np.asarray(sorted(self.get_view_interval()))))
        room = 1e-10 * (high - low)
        at = transform.transform(np.asarray(locs, float))
        inside = (at >= low - room) & (at <= high + room)
        return [(float(loc), label) for loc, label, shown in zip(locs, labels, inside, strict=True) if shown]

    def _move(self, tick: Tick, place: float, label: str) -> None:
        """Put the label of the only tick at a place."""
        raise NotImplementedError

    def _put_marks(self, tick: Tick, places: Sequence[float]) -> None:
        """Give the line of the only tick a mark at each place."""
        raise NotImplementedError

    def _get_ticklabel_bboxes(self, ticks: list[Tick], renderer: Any = None) -> Any:
        if not self._is_plain:
            return super()._get_ticklabel_bboxes(ticks, renderer)
        if not ticks or not ticks[0].label1.get_visible():
            return [], []
        boxes = []
        for place, label in self._places:
            self._move(ticks[0], place, label)
            text = ticks[0].label1
            at = text.get_transform().transform(text.get_unitless_position())
            if label not in self._sizes:  # only its place depends on the layout
                self._sizes[label] = text.get_window_extent(renderer).get_points() - at
            boxes.append(Bbox(self._sizes[label] + at))
        return boxes, []

    def _update_label_position(self, renderer: Any) -> None:
        if self.label.get_text():
            super()._update_label_position(renderer)

    def draw(self, renderer: Any, *arguments: Any, **options: Any) -> None:
        """Draw marks, labels and the axis's label."""
        ticks = self._update_ticks() if self.get_visible() else []
        if not self._is_plain or not self.get_visible():
            super().draw(renderer, *arguments, **options)
            return
        for tick in ticks:
            self._put_marks(tick, [place for place, _ in self._places])
            tick.tick1line.draw(renderer)
            for place, label in self._places:
                self._move(tick, place, label)
                tick.label1.draw(renderer)
        self._update_label_position(renderer)
        self.label.draw(renderer)
        self._update_offset_text_position(*self._get_ticklabel_bboxes(ticks, renderer))
        self.offsetText.set_text(self.major.formatter.get_offset())
        self.offsetText.draw(renderer)
        self.stale = False


class _LightXAxis(_LightAxis, XAxis):
    def _move(self, tick: Tick, place: float, label: str) -> None:
        tick.label1.set_x(place)
        tick.label1.set_text(label)

    def _put_marks(self, tick: Tick, places: Sequence[float]) -> None:
        tick.tick1line.set_data(places, [0.0] * len(places))


class _LightYAxis(_LightAxis, YAxis):
    def _move(self, tick: Tick, place: float, label: str) -> None:
        tick.label1.set_y(place)
        tick.label1.set_text(label)

    def _put_marks(self, tick: Tick, places: Sequence[float]) -> None:
        tick.tick1line.set_data([0.0] * len(places), places)


class _LightAxes(_Axes):  # type: ignore[misc]
    def _init_axis(self) -> None:
        super()._init_axis()
        self.xaxis.__class__, self.yaxis.__class__ = _LightXAxis, _LightYAxis
        for axis in (self.xaxis, self.yaxis):
            axis.majorTicks, axis.minorTicks = [], []

    def clear(self) -> None:
        """Begin anew, with spines at their place, where Matplotlib puts them when the first tick is made."""
        super().clear()
        for spine in self.spines.values():
            spine.get_spine_transform()


class LightCanvas(Canvas):
    """A figure whose subplots have light axes."""

    def add_subplot(self, *arguments: Any, **options: Any) -> Axes:
        """Add axes as Matplotlib does, light ones unless others are asked for."""
        if not {"axes_class", "projection", "polar"} & options.keys():
            options["axes_class"] = _LightAxes
        return super().add_subplot(*arguments, **options)
