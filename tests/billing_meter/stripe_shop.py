"""Everything that sells, on one test house and one fake Stripe."""

from __future__ import annotations

from billing_meter.free_credits import FreeCredits
from billing_meter.order_refunds import OrderRefund, OrderRefunds
from billing_meter.order_store import Order, OrderState
from billing_meter.orders import Orders
from billing_meter.packages import DEFAULT_PACKAGE_ID
from billing_meter.reload import Reload
from billing_meter.stripe_cards import StripeCardChecker
from billing_meter.stripe_line import StripeSettings
from billing_meter.stripe_provider import StripeProvider
from billing_meter.verify import reconcile, verify
from billing_meter.webhooks import Webhooks
from tests.billing_meter.fake_stripe import KEY, SECRET, FakeStripe

NEVER_S = 86_400.0
"""Tests ask by themselves, so that faults meet the request they are meant for."""


class Shop:
    """Everything that sells, on one house and one fake Stripe."""

    def __init__(self, house, stripe: FakeStripe, **settings: str) -> None:
        self.house, self.stripe = house, stripe
        chosen = {"descriptor": "PRL SERVICES", "api_base": stripe.url} | settings
        self.provider = StripeProvider(
            StripeSettings(KEY, SECRET, **chosen),
            site_url=lambda: "https://site.test",
            utc_now=house.clock.utc,
        )
        self.orders = Orders(
            house.database,
            house.wallet,
            self.provider,
            utc_now=house.clock.utc,
            poll_first_s=NEVER_S,
        )
        self.refunds = OrderRefunds(house.database, house.wallet, self.provider)
        self.webhooks = Webhooks(house.database, house.wallet, self.orders, self.provider)
        checker = StripeCardChecker(self.provider.line, lambda: "https://site.test")
        self.free = FreeCredits(house.wallet, checker, "salt")
        self.webhooks.on_check = self.free.look
        self.reload = Reload(house.database, house.wallet, self.orders, utc_now=house.clock.utc)
        self._keys = 0

    async def order(self, package: str = DEFAULT_PACKAGE_ID) -> Order:
        self._keys += 1
        order = await self.orders.create("ann", package, "card", f"k{self._keys}")
        assert isinstance(order, Order)
        return order

    async def checkout(self) -> Order:
        """An order whose page is open."""
        order = await self.orders.pay("ann", (await self.order()).order_id)
        assert isinstance(order, Order)
        return order

    async def bought(self) -> Order:
        """An order that was paid on the page."""
        order = await self.checkout()
        assert self.stripe.pay(self.stripe.session["id"])
        checked = await self.orders.check("ann", order.order_id)
        assert isinstance(checked, Order)
        assert checked.state is OrderState.SETTLED
        return checked

    async def refund(self, order: Order, price_minor: int | None, key: str) -> OrderRefund:
        """Staff gives money back."""
        refund = await self.refunds.request(order.order_id, price_minor, key, "staff")
        assert isinstance(refund, OrderRefund)
        return refund

    async def now(self, order: Order) -> Order:
        found = await self.orders.order("ann", order.order_id)
        assert found is not None
        return found

    async def posted(self) -> int:
        return (await self.house.wallet.balance("ann")).posted

    async def sound(self) -> None:
        """The books add up, and agree with the orders."""
        assert (await verify(self.house.database)).findings == ()
        assert (await reconcile(self.house.database)).findings == ()

    async def close(self) -> None:
        await self.reload.idle()
        await self.orders.close()
        await self.provider.close()
