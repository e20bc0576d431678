"""The convex hull of points in a plane (Andrew's monotone chain, 1979).

By hand because the corners are part of results: which of them comes first, and which of nearly collinear points
stays, must not change with the version of a library. And points on a line are an error in Qhull.
"""

from collections.abc import Iterable, Sequence

Point = tuple[float, float]


def hull(points: Iterable[Point]) -> list[Point]:
    """Return the corners of the hull, counter-clockwise from the leftmost one (the lowest of several)."""
    ordered = sorted(set(points))
    return lower_hull(ordered)[:-1] + lower_hull(ordered[::-1])[:-1]


def lower_hull(ordered: Sequence[Point]) -> list[Point]:
    """Return the hull's lower edge, from the first to the last of points in ascending order.

    Of points in descending order it is the upper edge. Of collinear points only the ends are corners.
    """
    edge: list[Point] = []
    for point in ordered:
        while len(edge) > 1 and _area(edge[-2], edge[-1], point) <= 0:
            edge.pop()
        edge.append(point)
    return edge


def _area(first: Point, second: Point, third: Point) -> float:
    """Return twice the area of a triangle, above 0 if it turns left."""
    return (second[0] - first[0]) * (third[1] - first[1]) - (second[1] - first[1]) * (third[0] - first[0])
