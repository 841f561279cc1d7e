// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio transport of ParaCell: registers in the control area, notification
 * by a monitor call, interrupt by an event bit. docs/virtio.md has the format.
 *
 * The host has filled in its half of every register block before the kernel
 * starts, so nothing here waits for the host but a reset of a device that was
 * in use. A block that is a hole then can become a device later: whoever knows
 * that it has writes to the parameter "rescan".
 */
#define pr_fmt(fmt) "virtio-paracell: " fmt

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/reboot.h>
#include <linux/slab.h>
#include <linux/virtio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <asm/barrier.h>
#include <asm/paracell.h>
#include <asm/paracell_abi.h>

/* Polls of a reset before the task starts to sleep between them. */
#define RESET_SPINS	2000

struct paracell_vdev {
	struct virtio_device vdev;
	struct paracell_virtio_device *regs;
	unsigned int index;
	bool was_ok;	/* DRIVER_OK was set since the last reset */
	bool irq_held;
	char name[24];
};

static struct device *paracell_bus;

/* Serialises the search for devices, and guards what it has found. */
static DEFINE_MUTEX(paracell_scan_lock);
static DECLARE_BITMAP(paracell_known, PARACELL_MAX_DEVICES);

static inline struct paracell_vdev *to_paracell_vdev(struct virtio_device *vdev)
{
	return container_of(vdev, struct paracell_vdev, vdev);
}

/*
 * The other side of these words is not this kernel, so the bit operation must
 * be atomic on a uniprocessor build too.
 */
static inline bool host_test_and_set_bit(unsigned int bit, unsigned long long *word)
{
	bool old;

	asm volatile("lock btsq %2, %1"
		     : "=@ccc" (old), "+m" (*word)
		     : "r" ((unsigned long)bit) : "memory");
	return old;
}

static bool paracell_vq_notify(struct virtqueue *vq)
{
	struct paracell_vdev *pv = to_paracell_vdev(vq->vdev);

	/* A bit that is still set has a wake-up of the host under way. */
	if (!host_test_and_set_bit(vq->index, &pv->regs->notify_queues))
		paracell_call(PARACELL_CALL_NOTIFY, pv->index, vq->index, 0, 0);
	return true;
}

static irqreturn_t paracell_interrupt(int irq, void *data)
{
	struct paracell_vdev *pv = data;
	u32 isr = xchg(&pv->regs->isr, 0);
	irqreturn_t ret = IRQ_NONE;
	struct virtqueue *vq;

	if (isr & PARACELL_ISR_CONFIG) {
		virtio_config_changed(&pv->vdev);
		ret = IRQ_HANDLED;
	}
	if (isr & PARACELL_ISR_USED) {
		virtio_device_for_each_vq(&pv->vdev, vq)
			vring_interrupt(irq, vq);
		ret = IRQ_HANDLED;
	}
	return ret;
}

static void paracell_get(struct virtio_device *vdev, unsigned int offset,
			 void *buf, unsigned int len)
{
	struct paracell_vdev *pv = to_paracell_vdev(vdev);

	if (offset > sizeof(pv->regs->config) ||
	    len > sizeof(pv->regs->config) - offset) {
		memset(buf, 0, len);
		return;
	}
	memcpy(buf, pv->regs->config + offset, len);
}

static void paracell_set(struct virtio_device *vdev, unsigned int offset,
			 const void *buf, unsigned int len)
{
	/* No device of ours has a field that the driver may write. */
	dev_warn_once(&vdev->dev, "write to read-only configuration at %u\n", offset);
}

static u32 paracell_generation(struct virtio_device *vdev)
{
	u32 gen = READ_ONCE(to_paracell_vdev(vdev)->regs->config_gen);

	virt_rmb();
	return gen;
}

static u8 paracell_get_status(struct virtio_device *vdev)
{
	struct paracell_virtio_device *regs = to_paracell_vdev(vdev)->regs;

	return READ_ONCE(regs->driver_status) |
	       (READ_ONCE(regs->device_status) & VIRTIO_CONFIG_S_NEEDS_RESET);
}

static void paracell_set_status(struct virtio_device *vdev, u8 status)
{
	struct paracell_vdev *pv = to_paracell_vdev(vdev);

	/* Queue registers and features come before the status. */
	virt_wmb();
	WRITE_ONCE(pv->regs->driver_status, status);
	if ((status & VIRTIO_CONFIG_S_DRIVER_OK) && !pv->was_ok) {
		pv->was_ok = true;
		paracell_call(PARACELL_CALL_NOTIFY, pv->index, PARACELL_NOTIFY_STATUS, 0, 0);
	}
}

static void paracell_reset(struct virtio_device *vdev)
{
	struct paracell_vdev *pv = to_paracell_vdev(vdev);
	struct paracell_virtio_device *regs = pv->regs;
	unsigned int spins = 0;
	u32 seq;

	WRITE_ONCE(regs->driver_status, 0);
	/* A device that was never told DRIVER_OK has not touched anything. */
	if (!pv->was_ok)
		return;
	pv->was_ok = false;
	/* The cell is about to end, and its devices with it. */
	if (system_state > SYSTEM_RUNNING)
		return;

	seq = regs->reset_seq + 1;
	virt_wmb();
	WRITE_ONCE(regs->reset_seq, seq);
	paracell_call(PARACELL_CALL_NOTIFY, pv->index, PARACELL_NOTIFY_STATUS, 0, 0);
	while (READ_ONCE(regs->reset_ack) != seq) {
		if (spins++ < RESET_SPINS)
			cpu_relax();
		else
			usleep_range(50, 200);
	}
	virt_mb();
}

static void paracell_synchronize_cbs(struct virtio_device *vdev)
{
	struct paracell_vdev *pv = to_paracell_vdev(vdev);

	synchronize_irq(paracell_device_irq(pv->index));
}

static void paracell_del_vqs(struct virtio_device *vdev)
{
	struct paracell_vdev *pv = to_paracell_vdev(vdev);
	struct virtqueue *vq, *next;

	if (pv->irq_held)
		free_irq(paracell_device_irq(pv->index), pv);
	pv->irq_held = false;

	list_for_each_entry_safe(vq, next, &vdev->vqs, list) {
		WRITE_ONCE(pv->regs->queues[vq->index].ready, 0);
		vring_del_virtqueue(vq);
	}
}

static struct virtqueue *paracell_setup_vq(struct paracell_vdev *pv, unsigned int index,
					   struct virtqueue_info *info)
{
	struct paracell_virtio_queue *q = &pv->regs->queues[index];
	struct virtqueue *vq;

	if (index >= pv->regs->num_queues || !q->size_max)
		return ERR_PTR(-ENOENT);

	vq = vring_create_virtqueue(index, q->size_max, PAGE_SIZE, &pv->vdev, true, true,
				    info->ctx, paracell_vq_notify, info->callback, info->name);
	if (!vq)
		return ERR_PTR(-ENOMEM);
	vq->num_max = q->size_max;

	q->size = virtqueue_get_vring_size(vq);
	q->desc = virtqueue_get_desc_addr(vq);
	q->driver = virtqueue_get_avail_addr(vq);
	q->device = virtqueue_get_used_addr(vq);
	virt_wmb();
	WRITE_ONCE(q->ready, 1);
	return vq;
}

static int paracell_find_vqs(struct virtio_device *vdev, unsigned int nvqs,
			     struct virtqueue *vqs[], struct virtqueue_info vqs_info[],
			     struct irq_affinity *desc)
{
	struct paracell_vdev *pv = to_paracell_vdev(vdev);
	unsigned int i, index = 0;
	int ret;

	for (i = 0; i < nvqs; i++) {
		if (!vqs_info[i].name) {
			vqs[i] = NULL;
			continue;
		}
		vqs[i] = paracell_setup_vq(pv, index++, &vqs_info[i]);
		if (IS_ERR(vqs[i])) {
			ret = PTR_ERR(vqs[i]);
			goto fail;
		}
	}

	ret = request_irq(paracell_device_irq(pv->index), paracell_interrupt, 0, pv->name, pv);
	if (ret)
		goto fail;
	pv->irq_held = true;
	return 0;

fail:
	paracell_del_vqs(vdev);
	return ret;
}

static u64 paracell_get_features(struct virtio_device *vdev)
{
	return to_paracell_vdev(vdev)->regs->device_features;
}

static int paracell_finalize_features(struct virtio_device *vdev)
{
	vring_transport_features(vdev);
	if (!__virtio_test_bit(vdev, VIRTIO_F_VERSION_1)) {
		dev_err(&vdev->dev, "the device does not offer VIRTIO_F_VERSION_1\n");
		return -EINVAL;
	}
	to_paracell_vdev(vdev)->regs->driver_features = vdev->features;
	return 0;
}

static const char *paracell_bus_name(struct virtio_device *vdev)
{
	return to_paracell_vdev(vdev)->name;
}

static const struct virtio_config_ops paracell_config_ops = {
	.get = paracell_get,
	.set = paracell_set,
	.generation = paracell_generation,
	.get_status = paracell_get_status,
	.set_status = paracell_set_status,
	.reset = paracell_reset,
	.find_vqs = paracell_find_vqs,
	.del_vqs = paracell_del_vqs,
	.synchronize_cbs = paracell_synchronize_cbs,
	.get_features = paracell_get_features,
	.finalize_features = paracell_finalize_features,
	.bus_name = paracell_bus_name,
};

static void paracell_release(struct device *dev)
{
	kfree(to_paracell_vdev(dev_to_virtio(dev)));
}

static int paracell_add(unsigned int index)
{
	struct paracell_virtio_device *regs = &paracell_control->devices[index];
	struct paracell_vdev *pv;
	u32 id = READ_ONCE(regs->device_id);
	int ret;

	/* A hole in the numbering. */
	if (!id)
		return 0;
	/* The host writes the number last. */
	virt_rmb();

	pv = kzalloc(sizeof(*pv), GFP_KERNEL);
	if (!pv)
		return -ENOMEM;
	pv->regs = regs;
	pv->index = index;
	snprintf(pv->name, sizeof(pv->name), "paracell-virtio%u", index);
	pv->vdev.dev.parent = paracell_bus;
	pv->vdev.dev.release = paracell_release;
	pv->vdev.config = &paracell_config_ops;
	pv->vdev.id.device = id;
	pv->vdev.id.vendor = VIRTIO_DEV_ANY_ID;

	/* Also after an error: a second attempt would not fare better. */
	__set_bit(index, paracell_known);
	ret = register_virtio_device(&pv->vdev);
	if (ret)
		put_device(&pv->vdev.dev);
	return ret;
}

/* Adds the devices that are not known yet; returns the last error. */
static int paracell_scan(void)
{
	unsigned int i, n = min_t(u64, paracell_control->boot.num_devices, PARACELL_MAX_DEVICES);
	int ret, last = 0;

	mutex_lock(&paracell_scan_lock);
	for_each_clear_bit(i, paracell_known, n) {
		ret = paracell_add(i);
		if (ret) {
			pr_err("device %u (type %u): error %d\n", i,
			       paracell_control->devices[i].device_id, ret);
			last = ret;
		}
	}
	mutex_unlock(&paracell_scan_lock);
	return last;
}

static int paracell_rescan(const char *val, const struct kernel_param *kp)
{
	/* On the kernel command line it would come before the bus. */
	if (IS_ERR_OR_NULL(paracell_bus))
		return -ENODEV;
	return paracell_scan();
}

static const struct kernel_param_ops paracell_rescan_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = paracell_rescan,
};
module_param_cb(rescan, &paracell_rescan_ops, NULL, 0200);

static int __init paracell_virtio_init(void)
{
	paracell_bus = root_device_register("paracell");
	if (IS_ERR(paracell_bus))
		return PTR_ERR(paracell_bus);
	paracell_scan();
	return 0;
}
subsys_initcall(paracell_virtio_init);
