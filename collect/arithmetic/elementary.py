"""Sine, cosine, arctangent and logarithm from additions, multiplications and divisions alone.

IEEE 754 fixes the result of +, -, *, / and the square root to the last bit, and of nothing else: libraries
differ with the processor. The polynomials are those of fdlibm (Sun Microsystems 1993, "freely granted"). Errors are
below 1 unit in the last place, of the arctangent below 1.5 (tested against 60 digits). Arguments are scalars.
"""

from math import floor, sqrt

import numpy as np

from .compiling import inner

PI = 3.141592653589793
TWO_PI = 6.283185307179586
_PI_REST = 1.2246467991473532e-16  # pi - PI
MOST_RAD = 1e6
"""Largest angle: its number of quarter turns times the first part of pi/2 must be exact."""
# pi/2 in three parts (Cody and Waite): the first two have 33 bits, so that whole multiples of them are exact.
_HALF_PI_1 = 1.57079632673412561417e00
_HALF_PI_2 = 6.07710050630396597660e-11
_HALF_PI_3 = 2.02226624879595063154e-21
_QUARTERS = 6.36619772367581382433e-01  # 2/pi


@inner
def sine_cosine(angle_rad: float) -> tuple[float, float]:
    """Return sine and cosine of an angle up to `MOST_RAD`."""
    quarter = floor(angle_rad * _QUARTERS + 0.5)
    first = angle_rad - quarter * _HALF_PI_1
    second = quarter * _HALF_PI_2
    near = first - second
    third = quarter * _HALF_PI_3 - ((first - near) - second)
    x = near - third  # in [-pi/4, pi/4]
    rest = (near - x) - third
    z = x * x
    cube = z * x
    odd = 8.33333333332248946124e-03 + z * (
        -1.98412698298579493134e-04
        + z * (2.75573137070700676789e-06 + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10))
    )
    sine = x - ((z * (0.5 * rest - cube * odd) - rest) + cube * 1.66666666666666324348e-01)
    even = z * (
        4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * 2.48015872894767294178e-05)
    ) + z * z * (z * z) * (
        -2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)
    )
    half = 0.5 * z
    most = 1.0 - half
    cosine = most + (((1.0 - most) - half) + (z * even - x * rest))
    turns = int(quarter) & 3
    if turns == 0:
        return sine, cosine
    if turns == 1:
        return cosine, -sine
    if turns == 2:
        return -sine, -cosine
    return -cosine, sine


@inner
def arctangent(y: float, x: float) -> float:
    """Return the angle of the vector (x, y) from the x axis, in [-pi, pi]; 0 for no vector."""
    across, along = abs(y), abs(x)
    if across == 0.0 and along == 0.0:
        return 0.0
    # tan(a - b) = (tan a - tan b) / (1 + tan a tan b), for b with tangent 0, 1/2, 1, 3/2 or infinity
    if across < 0.4375 * along:
        tangent, high, low = across / along, 0.0, 0.0
    elif across < 0.6875 * along:
        tangent = (2.0 * across - along) / (2.0 * along + across)
        high, low = 4.63647609000806093515e-01, 2.26987774529616870924e-17
    elif across < 1.1875 * along:
        tangent = (across - along) / (along + across)
        high, low = 7.85398163397448278999e-01, 3.06161699786838301793e-17
    elif across < 2.4375 * along:
        tangent = (across - 1.5 * along) / (along + 1.5 * across)
        high, low = 9.82793723247329054082e-01, 1.39033110312309984516e-17
    else:
        tangent = -along / across
        high, low = 1.57079632679489655800e00, 6.12323399573676603587e-17
    z = tangent * tangent
    w = z * z
    even = z * (
        3.33333333333329318027e-01
        + w
        * (
            1.42857142725034663711e-01
            + w
            * (
                9.09088713343650656196e-02
                + w
                * (6.66107313738753120669e-02 + w * (4.97687799461593236017e-02 + w * 1.62858201153657823623e-02))
            )
        )
    )
    odd = w * (
        -1.99999999998764832476e-01
        + w
        * (
            -1.11111104054623557880e-01
            + w
            * (-7.69187620504482999495e-02 + w * (-5.83357013379057348645e-02 + w * -3.65315727442169155270e-02))
        )
    )
    angle = high - ((tangent * (even + odd) - low) - tangent)
    if x < 0.0:
        angle = PI - (angle - _PI_REST)
    return -angle if y < 0.0 else angle


@inner
def logarithm(x: float) -> float:
    """Return the natural logarithm of a number in (0, 1]; meant for random numbers, of which few are small."""
    halvings = 0.0
    while x < 0.7071067811865476:
        x *= 2.0
        halvings -= 1.0
    f = x - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01))
    odd = z * (
        6.666666666666735130e-01
        + w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01))
    )
    square = 0.5 * f * f
    rest = square - (s * (square + (odd + even)) + halvings * 1.90821492927058770002e-10)
    return halvings * 6.93147180369123816490e-01 - (rest - f)


@inner
def length(east: float, north: float) -> float:
    """Return the length of a vector; its square must fit into a float64."""
    return sqrt(east * east + north * north)


@inner
def wrap(angle_rad: float) -> float:
    """Return an angle in [-pi, pi)."""
    if abs(angle_rad) >= 3.0 * PI:
        rest = abs(angle_rad) % TWO_PI  # exact
        angle_rad = rest if angle_rad > 0.0 else -rest
    if angle_rad >= PI:
        return angle_rad - TWO_PI
    if angle_rad < -PI:
        return angle_rad + TWO_PI
    return angle_rad


@inner
def single(value: float) -> float:
    """Return a number as it is stored, rounded to float32."""
    return float(np.float32(value))


@inner
def clip(value: float, low: float, high: float) -> float:
    """Return the nearest number in [low, high]."""
    return low if value < low else (high if value > high else value)
