"""A tiny real training, for the tests of handlers."""

import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler

from abdoseg.resuming import Resume


class Training:
    """A linear model of three inputs, four cases in a fixed order, batches of two; Adam, whose moments matter."""

    def __init__(self, max_epochs=1, optimizer=torch.optim.Adam, lr=0.1, scale=1.0):
        torch.manual_seed(0)
        self.network = torch.nn.Linear(3, 1)
        generator = torch.Generator().manual_seed(1)
        self.data = [
            {"image": torch.randn(3, generator=generator), "label": scale * torch.randn(1, generator=generator)}
            for _ in range(4)
        ]
        self.optimizer = optimizer(self.network.parameters(), lr=lr)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=2, gamma=0.5)
        self.max_epochs = max_epochs

    def trainer(self, *handlers):
        return SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=self.max_epochs,
            train_data_loader=DataLoader(Dataset(self.data), batch_size=2),
            network=self.network,
            optimizer=self.optimizer,
            loss_function=torch.nn.MSELoss(),
            train_handlers=[LrScheduleHandler(self.scheduler, print_lr=False), *handlers],
            decollate=False,
        )

    def resume(self, path):
        return Resume(path, {"model": self.network, "optimizer": self.optimizer, "lr_scheduler": self.scheduler})

    def step(self, *handlers, scaler=None):
        """Weights' change in one step of plain gradient descent at rate 1: the gradient that the optimizer saw."""
        before = torch.cat([parameter.detach().flatten().clone() for parameter in self.network.parameters()])
        self.data = self.data[:2]
        trainer = self.trainer(*handlers)
        trainer.amp = scaler is not None
        trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine, "scaler", scaler))
        trainer.run()
        return before - torch.cat([parameter.detach().flatten() for parameter in self.network.parameters()])
