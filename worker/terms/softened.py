"""The divergence of two networks' softened answers (Hinton, Vinyals & Dean 2015)."""

import torch.nn.functional as F
from torch import Tensor


def softened_kl(student_BK: Tensor, teacher_BK: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(teacher/T) ‖ softmax(student/T)), mean over images: T² keeps the gradient's size over T."""
    log_p_BK, log_q_BK = (F.log_softmax(z / temperature, dim=1) for z in (student_BK, teacher_BK))
    return temperature**2 * F.kl_div(log_p_BK, log_q_BK, reduction="batchmean", log_target=True)
