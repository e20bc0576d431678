import pytest

from skyclone.datasets.errors import ConfigurationError
from skyclone.evaluate.evaluation.shares import Share, parse


def test_self_comes_first_and_the_others_in_their_order():
    assert parse("0.1=mvp:margin=1.2,0.2=silent, 0.7=self") == (
        Share(0.7, "self"),
        Share(0.1, "mvp:margin=1.2"),
        Share(0.2, "silent"),
    )
    assert parse("") == parse(" ") == ()
    assert sum(each.share for each in parse("0.33333334=self,0.33333333=none,0.33333333=rvo")) == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.9=self,0.2=mvp", r"expected shares that add up to 1, got '0\.9=self,0\.2=mvp', which come to 1\.1"),
        ("0.5=mvp,0.5=none", "expected a share of self, who is evaluated, and one of somebody else"),
        ("1=self", "expected a share of self, who is evaluated, and one of somebody else"),
        ("0.5=self,0.25=mvp,0.25=mvp", "expected 'mvp' once, got it again"),
        ("mvp=0.2,self=0.8", "expected SHARE=NAME with a share above 0, got 'mvp=0.2'. Example: 0.8=self"),
        ("0.8=self,0.2", "expected SHARE=NAME with a share above 0, got '0.2'"),
        ("1=self,0=mvp", "expected SHARE=NAME with a share above 0, got '0=mvp'"),
        ("nan=self,0.5=mvp", "expected SHARE=NAME with a share above 0, got 'nan=self'"),
    ],
)
def test_what_is_no_mix(text, message):
    with pytest.raises(ConfigurationError, match=message):
        parse(text)
